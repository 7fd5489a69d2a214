/** Shapes are clipped from the text's colour: a picture in a style sheet would need `img-src data:` of the page. */
const CHECK = '"M6.2 10.9 3.1 7.8 2 8.9l4.2 4.2 8-8-1.1-1.1z"';
const DOT = '"M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z"';
const BOX = 'evenodd,"M1.5 2.5h13v4h-1v7h-11v-7h-1zM3 4v1h10V4zm1 2.5V12h8V6.5zM6 8h4v1.4H6z"';
const OUT = '"M8 2 4 6h3.2v4h1.6V6H12zM2 9v5h12V9h-1.5v3.5h-9V9z"';
const BIN = 'evenodd,"M6 1.5h4v1.3h4v1.4h-1v10.3H3V4.2H2V2.8h4zM4.4 4.2v8.9h7.2V4.2zM6 6h1.2v5.5H6zm2.8 0H10v5.5H8.8z"';
const CROSS = '"M4.1 3 3 4.1 6.9 8 3 11.9 4.1 13 8 9.1l3.9 3.9 1.1-1.1L9.1 8 13 4.1 11.9 3 8 6.9z"';
const BELL =
  'evenodd,"M10 1a1.5 1.5 0 0 0-1.5 1.7A5.8 5.8 0 0 0 4.2 8.3v3.4L2.5 14.5v1.2h15v-1.2l-1.7-2.8V8.3a5.8 5.8 0 0 0-4.3-5.6A1.5 1.5 0 0 0 10 1zm0 3.1a4.2 4.2 0 0 1 4.2 4.2v3.8l1.3 2.1H4.5l1.3-2.1V8.3A4.2 4.2 0 0 1 10 4.1zM7.9 16.8a2.1 2.1 0 0 0 4.2 0z"';

export const STYLES = `
:host{--a:var(--synkrone-accent,light-dark(#3b5bdb,#9db2ff));--b:var(--synkrone-background,light-dark(#fff,#17191e));--f:var(--synkrone-color,light-dark(#16181d,#eceef2));--m:var(--synkrone-muted,light-dark(#5b6270,#a0a8b6));--l:var(--synkrone-line,light-dark(#e6e8ec,#2b2f37));--h:var(--synkrone-hover,light-dark(#f4f5f7,#21242b));color-scheme:light dark;display:inline-block;position:relative}
:host([theme=light]){color-scheme:light}
:host([theme=dark]){color-scheme:dark}
:host([hidden]),[hidden]{display:none!important}
#root{font:14px/1.45 var(--synkrone-font,system-ui,sans-serif);letter-spacing:normal;text-align:start;white-space:normal;color:var(--f)}
*{box-sizing:border-box;margin:0;padding:0;font:inherit}
button,select{border:0;background:none;color:inherit;cursor:pointer;border-radius:6px}
:focus-visible{outline:2px solid var(--a);outline-offset:-2px}
[data-icon]{inline-size:32px;block-size:32px;flex:none;display:grid;place-items:center;color:var(--m)}
[data-icon]:hover{background:var(--l);color:var(--f)}
[data-icon]::before{content:"";inline-size:16px;block-size:16px;background:currentColor;clip-path:path(${CROSS});forced-color-adjust:none}
[data-icon=read]::before{clip-path:path(${DOT})}
.unread [data-icon=read]::before{clip-path:path(${CHECK})}
[data-icon=archive]::before{clip-path:path(${BOX})}
.archived [data-icon=archive]::before{clip-path:path(${OUT})}
[data-icon=delete]::before{clip-path:path(${BIN})}
#bell{inline-size:40px;block-size:40px;border-radius:50%;color:inherit;position:relative}
#bell::before{inline-size:20px;block-size:20px;clip-path:path(${BELL})}
#badge{position:absolute;inset:1px 0 auto auto;min-inline-size:18px;padding:0 5px;border-radius:9px;background:var(--synkrone-badge,light-dark(#d0271d,#ff8a80));color:light-dark(#fff,#1d0907);font:600 11px/18px var(--synkrone-font,system-ui,sans-serif);text-align:center}
#panel{position:absolute;z-index:var(--synkrone-z,1000);inset-block-start:calc(100% + 8px);inline-size:min(var(--synkrone-width,420px),100vw - 16px);max-block-size:min(640px,100dvh - 80px);display:flex;flex-direction:column;overflow:hidden;background:var(--b);border:1px solid var(--l);border-radius:var(--synkrone-radius,14px);box-shadow:0 1px 3px #0001,0 16px 40px #0003;outline:0}
header{display:flex;align-items:center;gap:4px;padding:12px 12px 4px 18px}
header:dir(rtl){padding:12px 18px 4px 12px}
h2{flex:1;font-size:16px;font-weight:650}
.link{color:var(--a);font-weight:500;font-size:13px;padding:5px 8px}
.link:hover{background:var(--h)}
#bar{display:flex;align-items:center;gap:2px;padding:0 10px;border-block-end:1px solid var(--l)}
[role=tablist]{display:flex;flex:1;min-inline-size:0}
[role=tab]{padding:8px;color:var(--m);border-radius:6px 6px 0 0;border-block-end:2px solid transparent;white-space:nowrap}
[role=tab]:hover{color:var(--f)}
[aria-selected=true]{color:var(--f);font-weight:600;border-color:var(--a)}
select{max-inline-size:9em;padding:5px 2px;color:var(--m);font-size:13px;text-overflow:ellipsis}
option{background:var(--b);color:var(--f)}
#note{display:flex;align-items:center;justify-content:center;gap:6px;padding:7px 16px;background:var(--h);color:var(--m);font-size:13px}
#scroll{flex:1;min-block-size:200px;overflow:auto;overscroll-behavior:contain;position:relative}
ul{list-style:none}
li,.toast{position:relative;display:flex;gap:12px;padding:12px 18px 12px 26px}
:is(li,.toast):dir(rtl){padding:12px 26px 12px 18px}
li{content-visibility:auto;contain-intrinsic-size:auto 84px;border-block-end:1px solid var(--l)}
li:hover{background:var(--h)}
.unread::before{content:"";position:absolute;inset-inline-start:11px;inset-block-start:18px;inline-size:8px;block-size:8px;border-radius:50%;background:var(--a);forced-color-adjust:none}
.unread .title{font-weight:600}
img{inline-size:36px;block-size:36px;border-radius:50%;object-fit:cover;flex:none;background:var(--h)}
.text{flex:1;min-inline-size:0;overflow-wrap:anywhere}
.head{display:flex;gap:12px;align-items:baseline}
.title{flex:1;min-inline-size:0;display:block;color:inherit;text-align:start;text-decoration:none;overflow-wrap:anywhere;cursor:pointer}
.title::after{content:"";position:absolute;inset:0}
.title:focus-visible{outline:0}
.title:focus-visible::after{outline:2px solid var(--a);outline-offset:-3px;border-radius:6px}
.title span,.body:not(.whole){display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
time{color:var(--m);font-size:12px;white-space:nowrap}
.body{color:var(--m);white-space:pre-line}
.text>.link,[part=action],.tools,.toast>[data-icon]{position:relative;z-index:1}
.text>.link{margin-inline-start:-8px}
.actions{display:flex;flex-wrap:wrap;gap:8px;margin-block-start:8px}
[part=action]{padding:4px 12px;border:1px solid var(--l);border-radius:7px;color:inherit;background:var(--b);font-size:13px;font-weight:500;text-decoration:none;max-inline-size:100%;overflow-wrap:anywhere}
[part=action]:hover{border-color:var(--m)}
.tools{display:flex;position:absolute;inset-block-start:6px;inset-inline-end:12px;border-radius:8px;background:var(--h);opacity:0}
li:hover .tools,li:focus-within .tools{opacity:1}
@media(hover:none){li{flex-wrap:wrap}.text{flex-basis:70%}.tools{position:static;opacity:1;background:none;margin-inline-start:auto;margin-block-end:-6px}}
#state{padding:56px 24px;text-align:center;color:var(--m)}
#state.loading{color:transparent;padding:0;block-size:252px;background:repeating-linear-gradient(var(--b) 0 20px,var(--h) 20px 34px,var(--b) 34px 44px,var(--h) 44px 54px,var(--b) 54px 84px);border-inline:26px solid var(--b)}
#pill{position:sticky;z-index:2;inset-block-start:10px;block-size:30px;margin:0 auto -30px;display:block;padding:0 14px;border-radius:15px;background:var(--a);color:var(--b);font-weight:600;font-size:13px;box-shadow:0 4px 14px #0003}
#toasts{position:fixed;z-index:var(--synkrone-z,1000);inset-block-end:16px;inset-inline-end:16px;inline-size:min(360px,100vw - 32px);display:grid;gap:8px}
.toast{padding-inline-start:18px;background:var(--b);border:1px solid var(--l);border-radius:12px;box-shadow:0 12px 32px #0003;animation:in .18s}
.toast.unread::before{content:none}
.sr{position:absolute;inline-size:1px;block-size:1px;overflow:hidden;clip-path:inset(50%)}
@keyframes in{from{opacity:0;transform:translateY(8px)}}
@media(prefers-reduced-motion){*{animation:none!important}}
@media(width<=480px){#panel{position:fixed;inset:0;left:0!important;inline-size:100%;max-block-size:none;border:0;border-radius:0}}
@media(width>480px){#close{display:none}}
@media(forced-colors:active){#panel,.toast,#badge,#pill{border:1px solid}[aria-selected=true]{border-color:Highlight}[data-icon]::before{background:ButtonText}.unread::before{background:Highlight}}
`;
