"""The look of the page: light and dark as the reader has it, contrast of 4.5 and more for text, nothing from elsewhere."""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --sheet: #f6f7f9; --ink: #1b1f24; --soft: #57606a; --rule: #d5dae0;
  --good: #116b34; --bad: #b3261e; --warn: #8a5300; --calm: #34506e;
  --c0: #5a6572; --c1: #1f5fbf; --c2: #b4430c; --c3: #7a3fb0; --c4: #0b7285; --c5: #9c2c67; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --sheet: #1d2127; --ink: #e7eaee; --soft: #a3adb8;
  --rule: #363d46; --good: #6fcf8d; --bad: #ff8f85; --warn: #f0b35a; --calm: #9dbfe6;
  --c0: #aab4bf; --c1: #7fb0ff; --c2: #ff9e6b; --c3: #c9a0f5; --c4: #66cfe0; --c5: #f29ac4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 12px; }
p { margin: 0 0 8px; max-width: 78ch; }
.soft, .nothing, figcaption span { color: var(--soft); }
.verdict { background: var(--sheet); border-left: 6px solid var(--calm); border-radius: 4px; padding: 14px 18px; }
section.verdict { margin: 20px 0 0; }
.verdict strong { display: block; font-size: 13px; letter-spacing: .04em; text-transform: uppercase; color: var(--calm); }
.verdict p { margin: 2px 0 0; font-size: 18px; }
.verdict ul { margin: 8px 0 0; padding-left: 20px; color: var(--soft); }
.verdict.better { border-color: var(--good); } .verdict.better strong { color: var(--good); }
.verdict.worse, .verdict.mismatch, .verdict.stopped { border-color: var(--bad); }
.verdict.worse strong, .verdict.mismatch strong, .verdict.stopped strong { color: var(--bad); }
.verdict.not_enough_data { border-color: var(--warn); } .verdict.not_enough_data strong { color: var(--warn); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 24px; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: 4px; } figcaption span { font-weight: 400; display: block; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--rule); stroke-width: 1; } .baseline { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .band { stroke: none; fill-opacity: .16; }
.dot { fill-opacity: 0; } .dot:hover, .dot.last { fill-opacity: 1; }
svg .name { font-weight: 600; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
svg .band.c0, svg .dot.c0, svg .name.c0 { fill: var(--c0); } svg .band.c1, svg .dot.c1, svg .name.c1 { fill: var(--c1); }
svg .band.c2, svg .dot.c2, svg .name.c2 { fill: var(--c2); } svg .band.c3, svg .dot.c3, svg .name.c3 { fill: var(--c3); }
svg .band.c4, svg .dot.c4, svg .name.c4 { fill: var(--c4); } svg .band.c5, svg .dot.c5, svg .name.c5 { fill: var(--c5); }
.scroll { overflow-x: auto; } .scroll:focus-visible, summary:focus-visible { outline: 3px solid var(--c1); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px 7px 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; font-size: 14px; vertical-align: bottom; }
th:first-child, td:first-child, th.text, td.text { text-align: left; } tbody th { font-weight: 600; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
@media print { .plots { grid-template-columns: 1fr 1fr; } details { display: none; } }
"""
