//! Colours and strokes, light and dark.

/// Plain rules, light first, so that renderers without media queries show the light ones.
pub(super) const STYLE: &str = "
text { font-family: 'DejaVu Sans', 'Noto Sans', Arial, sans-serif; font-size: 11px; fill: #1c2430; }
.title { font-size: 17px; font-weight: bold; }
.small { fill: #4a5568; }
.address { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 12px; }
.bridge { fill: #4a5568; }
.reason { fill: #1c2430; }
.quiet { fill: #5f6b7a; }
.branch { fill: none; stroke: #94a0b0; stroke-width: 1; }
.ground { fill: #ffffff; }
.group { fill: #f6f8fa; stroke: #9aa7b5; stroke-width: 1; }
.proven.shared { fill: #e4effc; stroke: #1f6fc4; stroke-width: 1.6; }
.asserted { stroke: #b7791f; stroke-dasharray: 6 3; }
.asserted.shared { fill: #fdf3dc; stroke-width: 1.6; }
.unknown { stroke: #8b3fa8; stroke-dasharray: 2 3; }
.unknown.shared { fill: #f5e9fa; stroke-width: 1.6; }
.none, .none.shared { fill: none; stroke: #c6ced8; stroke-width: 1; stroke-dasharray: none; }
@media (prefers-color-scheme: dark) {
text { fill: #e6ebf2; }
.small, .bridge { fill: #a9b4c2; }
.reason { fill: #e6ebf2; }
.quiet { fill: #97a3b3; }
.branch { stroke: #5d6a7a; }
.ground { fill: #10151c; }
.group { fill: #171e27; stroke: #4d5a69; }
.proven.shared { fill: #14293f; stroke: #5aa7f5; }
.asserted { stroke: #d9a441; }
.asserted.shared { fill: #33290f; }
.unknown { stroke: #c58be0; }
.unknown.shared { fill: #2d1a36; }
.none, .none.shared { fill: none; stroke: #39434f; }
}
";
