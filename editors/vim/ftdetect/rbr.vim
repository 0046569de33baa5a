autocmd BufNewFile,BufRead *.rbr setfiletype rbr
