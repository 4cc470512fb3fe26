sample <- data.frame(x = seq(0.1, 9, length.out = 90))
reason <- function(predict, rows = sample) reason_not_to_batch(loaded(predict, rows), rows)

test_that("an answer of each row alone is batchable", {
  expect_null(reason(function(d) sqrt(d$x)))
})

test_that("an answer that looks at the other rows is not", {
  expect_match(reason(function(d) d$x - mean(d$x)), "depends on the rows beside it")
})

test_that("an answer that looks at the order is not", {
  expect_match(reason(function(d) cumsum(d$x)), "depends on the rows beside it: in another order")
})

test_that("an answer of random numbers is not, though a seed repeats it", {
  expect_match(reason(function(d) d$x + stats::rnorm(nrow(d))), "uses random numbers")
})

test_that("a last bit that differs in groups of 2 or 3 only is found", {
  odd <- function(d) if (nrow(d) %in% 2:3) d$x * (1 + .Machine$double.eps) else d$x
  expect_match(reason(odd), "in a group of 2 the prediction of row")
})

test_that("another way above 1,000 rows is found with a small sample", {
  expect_match(reason(function(d) if (nrow(d) > 1000) round(d$x, 3) else d$x), "alone the prediction")
})

test_that("differences tell -0 from 0 and NaN from NA, and the row of the sample", {
  expect_match(first_difference(list(p = c(1, 0)), list(p = c(1, -0)), c(7L, 9L)), "row 9 is -0 instead of 0")
  expect_match(first_difference(list(p = NaN), list(p = NA_real_)), "row 1 is NA instead of NaN")
  expect_null(first_difference(list(p = c(NA, 1)), list(p = c(NA, 1))))
})
