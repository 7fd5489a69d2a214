/** Shapes are clipped from the text's colour: a picture in a style sheet would need `img-src data:` of the page. */
export const STYLES = `
:host{--a:var(--synkrone-accent,light-dark(#3b5bdb,#9db2ff));--b:var(--synkrone-background,light-dark(#fff,#17191e));--f:var(--synkrone-color,light-dark(#16181d,#eceef2));--l:var(--synkrone-line,light-dark(#e6e8ec,#2b2f37));display:inline-block;position:relative}
:host([theme=light]){color-scheme:light}
:host([theme=dark]){color-scheme:dark}
[hidden]{display:none!important}
#root{font:14px/1.45 var(--synkrone-font,system-ui,sans-serif)}
*{box-sizing:border-box;margin:0;padding:0;font:inherit}
button{border:0;background:none;color:inherit;cursor:pointer}
:focus-visible{outline:2px solid var(--a);outline-offset:-2px}
#bell{inline-size:40px;block-size:40px;border-radius:50%;position:relative}
#bell:hover{background:var(--l)}
[aria-busy=true]{cursor:progress}
#bell::before{content:"";display:block;margin:auto;background:currentColor;inline-size:20px;block-size:20px;clip-path:path(evenodd,"M10 1 9 3Q4 4 4 8v4l-2 3v1h16v-1l-2-3V8q0-4-5-5zM10 4.500q4.500 0 4.500 4v4l1 2h-11l1-2v-4q0-4 4.500-4zM8 17a2 2 0 0 0 4 0z")}
#badge{position:absolute;inset:1px 0 auto auto;min-inline-size:18px;padding:0 5px;border-radius:9px;background:var(--synkrone-badge,light-dark(#d0271d,#ff8a80));color:var(--b);font-weight:600;font-size:11px;line-height:18px}
@media(forced-colors:active){#bell::before{forced-color-adjust:none;background:ButtonText}#badge{border:1px solid}}
`.replaceAll("\n", "");
