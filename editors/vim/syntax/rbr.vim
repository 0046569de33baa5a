" Vim syntax file: RBR, the language of RedBarrel Lite
if exists("b:current_syntax")
  finish
endif

syntax case match

" Later items win where several match: general ones come first.
syntax match rbrNumber /\v%(^|[^A-Za-z0-9_.-])@1<=[0-9][0-9.]*/
syntax match rbrOperation /\v%(^|[^A-Za-z0-9_-])@1<=%(unless|type|is|not|validates|with|return|on|error|set|describe|alter|use|at)[A-Za-z0-9_-]@!/
syntax match rbrConstant /\v%(^|[^A-Za-z0-9_-])@1<=%(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|SOCKETIO|ENGINEIO|WEBSOCKET|polling|websocket|off)[A-Za-z0-9_-]@!/
syntax match rbrKey /\v%(^|[^A-Za-z0-9_-])@1<=%(title|version|description|method|url|max-body|allow-origin|request-description|request-headers|request-body|request-status|response-headers|response-body|response-status|namespace|ping-interval|ping-timeout|max-payload|max-fragments|connect-timeout|upgrade-timeout|transports|compression|subprotocol|recovery|allow-eio3|max-connections|max-rate)[A-Za-z0-9_-]@!/
syntax match rbrCustomKey /\v%(^|[^A-Za-z0-9_-])@1<=x-[A-Za-z0-9_-]*/
syntax match rbrDefinition /\v^\s*%(define\s+)?%(path|meta|global|type|root|socket|include|worker|arbiter)>-@!/
syntax match rbrLocation /\v<\h\w*%(\.\h\w*)+/
syntax match rbrLocation /\v<%(python|file|directory|location|proxy|wsgi):[^ \t,;()#"]*/
syntax match rbrUrl /\v%(^|[ \t(,])@1<=\/%(\{%(\\.|\{[^{}]*\}|[^{}\\])*\}|\([^() \t]*\)|[^ \t,;(){}#])*/
syntax match rbrEscape /\v\\%(u\x{4}|["\\nt])/ contained
syntax region rbrText start=/"/ skip=/\\./ end=/"/ end=/$/ contains=rbrEscape
syntax region rbrText start=/"""/ end=/"""/
syntax match rbrComment /#.*$/ contains=@Spell

highlight default link rbrNumber Number
highlight default link rbrOperation Statement
highlight default link rbrConstant Constant
highlight default link rbrKey Identifier
highlight default link rbrCustomKey Special
highlight default link rbrDefinition Keyword
highlight default link rbrLocation Type
highlight default link rbrUrl PreProc
highlight default link rbrEscape SpecialChar
highlight default link rbrText String
highlight default link rbrComment Comment

let b:current_syntax = "rbr"
