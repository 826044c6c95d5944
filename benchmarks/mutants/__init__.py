"""How strong are the tests?  Bugs of one line, made by rules, and which of them the tests find.

    python -m benchmarks.mutants [--group reference|cpu|cuda|ops] [--file PATTERN] [--jobs 2] [--json FILE]

    rules.py          text -> every way to change one token or term of it: '<' -> '<=', KH -> KW, 0 -> 1, a term dropped
    sample.py         which sources; a sample of their mutants, the same for everybody: those with the least hashes
    graph.py          which definitions a mutant reaches: what must be compiled afresh, which tests to run first
    tests.py          which tests concern which source
    plant.py          a mutant in this process: imports and compilers are handed the changed text, no file is written to
    judge.py          a process for each mutant, forked from one that has loaded what does not change
    equivalents.json  mutants that change nothing anyone could observe, each with its reason

A mutant is killed if a test fails, or if it hangs or crashes the process.  Results are appended to a file as they come;
a run that was stopped goes on where it was.
"""
