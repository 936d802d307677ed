"""The report's one style sheet: system fonts, tabular figures, light and dark from the same variables."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2023; --soft: #666c73; --line: #e3e4e0; --faint: #c9cbc6;
  --accent: #1c6a86; --good: #23795a; --bad: #b04a26; --warm: #a8791a; --violet: #7a5aa6;
  --band: #f1f2ee; --none: #f3c3a8; --middle: #efe9d8; --all: #4c9d7f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141618; --card: #1b1e21; --ink: #e8e8e4; --soft: #9ba1a8; --line: #2e3236; --faint: #4a4f55;
    --accent: #6cbcd8; --good: #63c29b; --bad: #e68a63; --warm: #dfb04f; --violet: #b89be0;
    --band: #202427; --none: #7a3d22; --middle: #4a4637; --all: #3f8f70;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3.5rem 1.5rem 5rem; max-width: 66rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { font-size: 1.9rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; font-weight: 600; letter-spacing: -0.01em; margin: 3.2rem 0 0.6rem; }
h3 { font-size: 0.95rem; font-weight: 600; margin: 2.2rem 0 0.7rem; overflow-wrap: anywhere; }
p { margin: 0.5rem 0; max-width: 44rem; }
.path, .note { color: var(--soft); font-size: 0.9rem; overflow-wrap: anywhere; }
dl.settings { display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0.9rem 0 1.6rem; }
dl.settings dt { color: var(--soft); font-size: 0.78rem; }
dl.settings dd { margin: 0; font-size: 0.92rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll > svg { min-width: 38rem; }
table { border-collapse: collapse; width: 100%; margin: 1.4rem 0 0.6rem; font-size: 0.9rem; }
th, td { padding: 0.45rem 0.5rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; font-size: 0.8rem; }
th:first-child, td:first-child {
  min-width: 13rem; text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
td:nth-child(2) { font-weight: 600; }
tr.suite td, tr.all td { background: var(--band); }
tr.suite td:first-child, tr.all td:first-child { font-weight: 600; padding-left: 0.5rem; }
table.words td { white-space: normal; font-weight: 400; }
table.words th, table.words td { text-align: left; }
details { margin: 0.8rem 0; } summary { cursor: pointer; color: var(--accent); font-size: 0.9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1rem;
  margin: 1rem 0 1.4rem; }
.tiles > div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 0.9rem 1.1rem; }
.tiles p { margin: 0; font-size: 0.85rem; color: var(--soft); }
.tiles p.big { font-size: 2.1rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.25;
  color: var(--ink); }
.lacking { color: var(--bad); font-weight: 600; }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, "DejaVu Sans", sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .bar { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: 0.45; }
svg .dot { fill: var(--accent); }
svg .ring { fill: var(--paper); stroke: var(--accent); stroke-width: 1.5; }
svg .ever { stroke: var(--accent); stroke-width: 1.5; stroke-linecap: round; opacity: 0.45; }
svg .zero { stroke: var(--soft); stroke-width: 1; }
svg .bar.dull { stroke: var(--soft); } svg .dot.dull { fill: var(--soft); }
svg .label { fill: var(--ink); }
svg .strong { font-weight: 600; }
svg .value { fill: var(--ink); font-weight: 600; }
svg .soft { fill: var(--soft); font-size: 12px; }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.c0 { stroke: var(--accent); --own: var(--accent); } .c1 { stroke: var(--bad); --own: var(--bad); }
.c2 { stroke: var(--warm); --own: var(--warm); } .c3 { stroke: var(--violet); --own: var(--violet); }
svg .mark { fill: var(--own); }
.key { display: flex; flex-wrap: wrap; gap: 0.3rem 1.4rem; color: var(--soft); font-size: 0.82rem; }
.key svg { width: 1.9rem; display: inline-block; vertical-align: -0.15rem; margin-right: 0.35rem; }
h4 { font-size: 0.88rem; font-weight: 600; margin: 1.5rem 0 0.5rem; }
h4 .soft, p.soft { font-weight: 400; color: var(--soft); font-size: 0.82rem; }
.cells { display: flex; flex-wrap: wrap; gap: 2px; }
.cells i, .plane i, .scale i { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  font-style: normal; }
.cells.large { gap: 3px; }
.cells.large i { width: auto; min-width: 2.15rem; padding: 0 0.3rem; height: 1.6rem; border-radius: 4px;
  font: 0.72rem/1.6rem system-ui;  text-align: center; color: var(--ink); }
.planes { display: flex; flex-wrap: wrap; gap: 1.2rem 2.2rem; }
table.plane { width: auto; margin: 0.2rem 0 0; caption-side: bottom; }
.plane th, .plane td, .plane th:first-child, .plane td:first-child {
  min-width: 0; padding: 1px; border: 0; text-align: center; font-size: 0.72rem; }
.plane th:first-child { padding-right: 0.4rem; }
.plane td:nth-child(2) { font-weight: 400; }
.plane caption { color: var(--soft); font-size: 0.72rem; text-align: left; padding-top: 0.2rem;
  white-space: nowrap; }
.plane i { width: 2.5rem; height: 1.8rem; border-radius: 4px; font: 0.75rem/1.8rem system-ui; }
.h0 { background: color-mix(in oklab, var(--none) 100%, var(--middle)); }
.h1 { background: color-mix(in oklab, var(--none) 80%, var(--middle)); }
.h2 { background: color-mix(in oklab, var(--none) 60%, var(--middle)); }
.h3 { background: color-mix(in oklab, var(--none) 40%, var(--middle)); }
.h4 { background: color-mix(in oklab, var(--none) 20%, var(--middle)); }
.h5 { background: color-mix(in oklab, var(--all) 0%, var(--middle)); }
.h6 { background: color-mix(in oklab, var(--all) 20%, var(--middle)); }
.h7 { background: color-mix(in oklab, var(--all) 40%, var(--middle)); }
.h8 { background: color-mix(in oklab, var(--all) 60%, var(--middle)); }
.h9 { background: color-mix(in oklab, var(--all) 80%, var(--middle)); }
.h10 { background: color-mix(in oklab, var(--all) 100%, var(--middle)); }
i.ever { box-shadow: inset 0 0 0 1.5px var(--good); }
i.error { background: repeating-linear-gradient(45deg, var(--bad) 0 3px, var(--paper) 3px 6px); }
i.none { background: var(--line); opacity: 0.4; }
.scale i { margin-right: 2px; vertical-align: -1px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.4rem; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.2rem;
  align-items: start; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }
figure video, figure img { display: block; width: 100%; background: var(--line); }
figcaption { padding: 0.55rem 0.8rem 0.7rem; font-size: 0.82rem; line-height: 1.4; }
figcaption .soft { color: var(--soft); }
figure details { margin: 0; padding: 0.4rem 0.8rem 0; } figure summary { font-size: 0.8rem; }
figure details[open] { padding-bottom: 0.4rem; }
a.beside { display: block; padding: 0.6rem 0.8rem 0; color: var(--accent); font-size: 0.8rem;
  overflow-wrap: anywhere; }
figure:has(details[open]) { grid-column: 1 / -1; }
figure:has(details[open]) video { max-width: 20rem; }
.verdict { font-weight: 600; } .verdict.success { color: var(--good); }
.verdict.failure, .verdict.error { color: var(--bad); } .verdict.ever { color: var(--warm); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.8rem 2.2rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; padding: 0;
  margin: 0.4rem 0 0;
  font-size: 0.8rem; color: var(--soft); }
.legend b { color: var(--ink); font-weight: 600; }
.swatch { display: inline-block; width: 0.7rem; height: 0.2rem; border-radius: 1px; background: var(--own);
  margin-right: 0.4rem; vertical-align: middle; }
ul.errors { color: var(--bad); font-size: 0.88rem; padding-left: 1.1rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding-top: 2rem; } h1 { font-size: 1.5rem; } }
@media print { body { max-width: none; padding: 0; } figure { break-inside: avoid; } }
"""
