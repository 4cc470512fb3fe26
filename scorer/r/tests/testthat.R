# All tests of the R package, from the repository's root:
#   Rscript -e 'testthat::test_local("scorer/r", stop_on_failure = TRUE)'
# Lint:
#   Rscript -e 'pkgload::load_all("scorer/r", quiet = TRUE); l <- lintr::lint_package("scorer/r"); print(l)
#               quit(status = length(l) > 0)'
#   Rscript -e 'l <- lintr::lint_dir("examples/models", linters = lintr::linters_with_defaults(
#               lintr::line_length_linter(120))); print(l); quit(status = length(l) > 0)'
library(testthat)
library(scoregate)

test_check("scoregate")
