/** Of the panel and toasts, beside those of the element. */
export const STYLES = `
:host{--m:var(--synkrone-muted,light-dark(#5b6270,#a0a8b6));--h:var(--synkrone-hover,light-dark(#f4f5f7,#21242b))}
[data-icon]{inline-size:32px;block-size:32px;flex:none;color:var(--m)}
[data-icon]:hover{background:var(--l)}
[data-icon]::before{content:"";display:block;inline-size:16px;block-size:16px;margin:auto;background:currentColor;clip-path:path("M4 3 3 4l4 4-4 4 1 1 4-4 4 4 1-1-4-4 4-4-1-1-4 4z")}
[data-icon=read]::before{clip-path:circle(4px)}
.unread [data-icon=read]::before{clip-path:path("M6 11 3 8 2 9l4 4 8-8-1-1z")}
[data-icon=archive]::before{clip-path:path(evenodd,"M2 3h12v4h-1v7H3V7H2zM3 4v2h10V4zM4 7v6h8V7zM6 8h4v2H6z")}
.archived [data-icon=archive]::before{transform:scaleY(-1)}
[data-icon=snooze]::before{clip-path:path(evenodd,"M8 2a6 6 0 0 0 0 12 6 6 0 0 0 0-12zM8 3a5 5 0 0 1 0 10A5 5 0 0 1 8 3zM7 5h1v3l3 2-1 1-3-2.500z")}
[data-icon=unsnooze]::before{clip-path:path("M6 2 2 6l4 4V7h4a3 3 0 0 1 0 6H6v1h4a4 4 0 0 0 0-8H6z")}
[data-icon=unsnooze]:dir(rtl)::before{transform:scaleX(-1)}
.archived [data-icon=snooze],li:not(.snoozed) [data-icon=unsnooze],.snoozed [data-icon=read],.snoozed [data-icon=archive],.snoozed time{display:none}
[data-icon=delete]::before{clip-path:path(evenodd,"M6 2h4v1h4v1h-1v10H3V4H2V3h4zM4 4v9h8V4zM6 6h1v5H6zM9 6h1v5H9z")}
#live{position:absolute;clip-path:inset(50%);inline-size:1px;block-size:1px;overflow:hidden}
#panel,.toast{color:var(--f);text-align:start}
button:not(#bell){border-radius:6px}
#panel{position:absolute;z-index:var(--synkrone-z,1000);inset-block-start:calc(100% + 8px);inline-size:min(var(--synkrone-width,420px),100vw - 16px);max-block-size:min(640px,100dvh - 80px);display:flex;flex-direction:column;overflow:hidden;background:var(--b);border:1px solid var(--l);border-radius:var(--synkrone-radius,14px);box-shadow:0 8px 32px #0003;outline:0}
header,#bar,.head,.actions,li,.toast{display:flex;gap:8px}
header{align-items:center;padding:12px 12px 4px;padding-inline-start:18px}
h2{flex:1;font-size:16px;font-weight:600;line-height:30px}
.link{color:var(--a);font-size:13px;padding:5px 8px}
.link:hover,li:hover,#note{background:var(--h)}
#bar{flex-wrap:wrap;row-gap:0;padding:0 10px;border-block-end:1px solid var(--l)}
#tabs{display:flex}
[role=tab]{padding:8px;white-space:nowrap;color:var(--m);border-radius:6px 6px 0 0;border-block-end:2px solid transparent}
[aria-selected=true]{color:var(--f);font-weight:600;border-color:var(--a)}
select{border:0;border-radius:6px;background:none;cursor:pointer;margin-inline-start:auto;min-block-size:32px;max-inline-size:100%;color:var(--m);font-size:13px}
option{background:var(--b);color:var(--f)}
#note{padding:7px 16px;color:var(--m);text-align:center}
#scroll{flex:1;min-block-size:200px;overflow:auto;overscroll-behavior:contain}
li,.toast{position:relative;padding:12px 18px;padding-inline-start:26px}
li{border-block-end:1px solid var(--l)}
li.unread::before{content:"";position:absolute;inset-inline-start:11px;inset-block-start:18px;inline-size:8px;block-size:8px;border-radius:50%;background:var(--a)}
li.unread .title{font-weight:600}
img{inline-size:36px;block-size:36px;border-radius:50%;object-fit:cover;flex:none}
.text{flex:1;min-inline-size:0;overflow-wrap:anywhere}
.head{align-items:baseline}
.title{flex:1;color:inherit;text-align:start;text-decoration:none;cursor:pointer;min-inline-size:0;overflow-wrap:anywhere}
.title::after{content:"";position:absolute;inset:0}
.title:focus-visible{outline:0}
.title:focus-visible::after{outline:2px solid var(--a);outline-offset:-3px}
.title span,.body:not(.whole){display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
time,.head span[class],.body{color:var(--m)}
time,.head span[class]{font-size:12px;white-space:nowrap}
.body{white-space:pre-line}
.text>.link,[part=action],.tools,.toast>[data-icon]{position:relative;z-index:1}
.text>.link{margin-inline-start:-8px}
.actions{flex-wrap:wrap}
[part=action]{margin-block-start:8px;padding:4px 12px;border:1px solid var(--l);border-radius:7px;color:inherit;background:var(--b);font-size:13px;text-decoration:none;max-inline-size:100%}
[part=action]:hover{border-color:var(--m)}
small{color:var(--m);font-size:12px}
.tools{position:absolute;inset-block-start:6px;inset-inline-end:12px;background:var(--h);opacity:0}
li:hover .tools,li:focus-within .tools{opacity:1}
@media(hover:none){li{flex-wrap:wrap}.text{flex-basis:calc(100% - 48px)}.tools{position:static;opacity:1;background:none;margin:-6px 0 -6px auto;margin-inline:auto -8px}}
#state{padding:56px 24px;text-align:center;color:var(--m)}
#pill{position:sticky;z-index:2;inset-block-start:10px;block-size:30px;margin:0 auto -30px;display:block;padding:0 14px;border-radius:15px;background:var(--a);color:var(--b)}
#toasts{position:fixed;z-index:var(--synkrone-z,1000);inset-block-end:16px;inset-inline-end:16px;inline-size:min(360px,100vw - 32px);display:grid;gap:8px}
.toast{padding-inline-start:18px;background:var(--b);border:1px solid var(--l);border-radius:12px;box-shadow:0 8px 32px #0003}
@media(prefers-reduced-motion:no-preference){.toast{animation:in .2s}}
@keyframes in{from{opacity:0}}
@media(width<=480px){#panel{position:fixed;inset:0;left:0!important;inline-size:100%;max-block-size:none;border:0;border-radius:0}}
@media(width>480px){#close{display:none}}
@media(forced-colors:active){[data-icon]::before,li.unread::before{forced-color-adjust:none;background:ButtonText}#pill,[aria-selected=true]{border:1px solid}[aria-selected=false]{border-color:Canvas}}
.off #bell::before{opacity:.4}
`.replaceAll("\n", "");
