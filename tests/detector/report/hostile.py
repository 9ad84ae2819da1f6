"""Text as somebody with bad intentions, or bad luck, would write it."""

from hypothesis import strategies as st

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title></textarea><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "[click](http://evil.example/)",
    "![x](http://evil.example/pixel.png)",
    "<http://evil.example/>",
    "http://evil.example/ www.evil.example me@evil.example",
    "`code` **bold** _it_ ~~no~~ | cell | cell |",
    "# heading\n\n- list\n> quote\n\n| a | b |\n|---|---|\n| c | d |",
    "[ref]: http://evil.example/\n[ref]",
    "<!-- backslide:end --> free",
    "&lt;script&gt; &#60;script&#62;",
    "\\<b\\> \\[x\\](y)",
    "\u202egnp.exe \x00\x1b[31m \ud800",
    "../../etc/passwd",
    "x" * 5000,
    "名前 🎉 é",
)

texts = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(max_size=60),
    st.lists(st.sampled_from(ATTACKS), min_size=2, max_size=3).map("".join),
)
