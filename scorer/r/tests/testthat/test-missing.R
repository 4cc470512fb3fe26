sample <- data.frame(a = c(1, 2, 3, 4, 5, 6), b = c(6, 5, 4, 3, 2, 1), f = factor(c("x", "y", "x", "y", "x", "y")))
probed <- function(predict) probe_missing(loaded(predict, sample), sample)

test_that("a model that answers NA for a missing value is nullable there", {
  expect_identical(probed(function(d) d$a + d$b * 0), c(a = "na", b = "na", f = "value"))
})

test_that("a model that answers a value for a missing value keeps it", {
  expect_identical(probed(function(d) ifelse(is.na(d$a), -1, d$a))[["a"]], "value")
})

test_that("a model that fails on missing values is not nullable there", {
  found <- probed(function(d) {
    if (anyNA(d$b)) stop("missing data")
    d$a
  })
  expect_identical(found, c(a = "na", b = "fail", f = "value"))
})

test_that("a model that silently leaves rows out is found, column by column", {
  expect_identical(probed(function(d) d$a[!is.na(d$f)]), c(a = "na", b = "value", f = "drop"))
})

test_that("a model that leaves out a row and answers for another is not trusted with missing values", {
  found <- probed(function(d) {
    kept <- !is.na(d$f)
    if (all(kept)) d$a else d$b[kept]
  })
  expect_identical(found[["f"]], "fail")
})

test_that("NA that comes only in company is answered by scoring around the row", {
  found <- probed(function(d) {
    if (all(is.na(d$a))) stop("0 rows")
    d$a
  })
  expect_identical(found[["a"]], "drop")
})

test_that("columns that fail together, though not apart, are not nullable", {
  found <- probed(function(d) {
    if (any(is.na(d$a) & is.na(d$f))) stop("both missing")
    ifelse(is.na(d$a) | is.na(d$f), 0, d$b)
  })
  expect_identical(found, c(a = "fail", b = "drop", f = "fail"))
})

test_that("a sample of one row is enough", {
  expect_identical(probe_missing(loaded(function(d) d$a, sample[1, ]), sample[1, ])[["a"]], "na")
})

test_that("holes are punched in every row and every column named", {
  holed <- punch_holes(sample, c("a", "f"))
  expect_true(all(rowSums(is.na(holed[c("a", "f")])) > 0))
  expect_true(anyNA(holed$a) && anyNA(holed$f) && !anyNA(holed$b))
  expect_identical(nrow(punch_holes(sample, character())), 0L)
})
