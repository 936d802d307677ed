"""The report's one style sheet: system fonts, tabular figures, light and dark from the same variables."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2023; --soft: #666c73; --line: #e3e4e0; --faint: #c9cbc6;
  --accent: #1c6a86; --good: #23795a; --bad: #b04a26; --warm: #a8791a; --violet: #7a5aa6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141618; --card: #1b1e21; --ink: #e8e8e4; --soft: #9ba1a8; --line: #2e3236; --faint: #4a4f55;
    --accent: #6cbcd8; --good: #63c29b; --bad: #e68a63; --warm: #dfb04f; --violet: #b89be0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3.5rem 1.5rem 5rem; max-width: 62rem;
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
table { border-collapse: collapse; width: 100%; margin: 1.4rem 0 0.6rem; font-size: 0.92rem; }
th, td { padding: 0.5rem 0.7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; font-size: 0.8rem; }
th:first-child, td:first-child {
  min-width: 13rem; text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
td:nth-child(2) { font-weight: 600; }
tr.mean td { border-bottom: 0; color: var(--soft); }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, "DejaVu Sans", sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .bar { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: 0.45; }
svg .dot { fill: var(--accent); }
svg .ring { fill: var(--paper); stroke: var(--accent); stroke-width: 1.5; }
svg .label { fill: var(--ink); }
svg .value { fill: var(--ink); font-weight: 600; }
svg .soft { fill: var(--soft); font-size: 12px; }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.c0 { stroke: var(--accent); --own: var(--accent); } .c1 { stroke: var(--bad); --own: var(--bad); }
.c2 { stroke: var(--warm); --own: var(--warm); } .c3 { stroke: var(--violet); --own: var(--violet); }
svg .mark { fill: var(--own); }
.key { display: flex; flex-wrap: wrap; gap: 0.3rem 1.4rem; color: var(--soft); font-size: 0.82rem; }
.key svg { width: 1.9rem; display: inline-block; vertical-align: -0.15rem; margin-right: 0.35rem; }
.episodes { display: flex; flex-wrap: wrap; gap: 3px; }
.episodes i { width: 13px; height: 13px; border-radius: 3px; border: 1.5px solid var(--faint); }
.episodes i.success { background: var(--good); border-color: var(--good); }
.episodes i.ever { border-color: var(--good); }
.episodes i.error { background: var(--bad); border-color: var(--bad); }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }
figure video, figure img { display: block; width: 100%; background: var(--line); }
figcaption { padding: 0.55rem 0.8rem 0.7rem; font-size: 0.82rem; line-height: 1.4; }
figcaption .soft { color: var(--soft); }
.verdict { font-weight: 600; } .verdict.success { color: var(--good); }
.verdict.failure { color: var(--bad); }
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
