test_that("no rows give empty vectors of the right types without calling the model", {
  model <- loaded(function(newdata) stop("called"), data.frame(x = 1), outputs = list(
    list(name = "a", type = "double"), list(name = "b", type = "factor", levels = "z")))
  expect_identical(predict_rows(model, data.frame(x = numeric())), list(a = numeric(), b = integer()))
})

test_that("rows with missing values in dropped columns are scored apart and answered NA, in place", {
  seen <- NULL
  model <- loaded(function(newdata) {
    seen <<- newdata
    stats::na.omit(newdata)$x * 2
  }, data.frame(x = c(1, 2), y = c(1, 2)))
  model$drop <- "x"
  expect_identical(predict_rows(model, data.frame(x = c(1, NA, 3), y = 1)), list(prediction = c(2, NA, 6)))
  expect_identical(row.names(seen), c("1", "2"))
  expect_identical(predict_rows(model, data.frame(x = c(NA_real_, NA), y = 1)), list(prediction = c(NA_real_, NA)))
})

test_that("the seed is set before each call, so that random answers repeat", {
  model <- loaded(function(newdata) stats::rnorm(nrow(newdata)), data.frame(x = 1))
  rows <- data.frame(x = c(1, 2))
  expect_identical(predict_rows(model, rows), predict_rows(model, rows))
})

test_that("warnings and messages of a model go nowhere", {
  model <- loaded(function(newdata) {
    warning("rank-deficient")
    message("hello")
    newdata$x
  }, data.frame(x = 1))
  expect_silent(predict_rows(model, data.frame(x = 1)))
})

test_that("a model that loses a row is a wrong length, not a shifted answer", {
  model <- loaded(function(newdata) newdata$x, data.frame(x = c(1, 2)))
  model$predictor <- function(newdata) newdata$x[-1]
  expect_error(predict_rows(model, data.frame(x = 1:3 / 2)), "2 values of prediction for 3 rows",
    class = "scoregate_wrong_length")
})

test_that("missing columns are named with what was given, others are left out", {
  model <- loaded(function(newdata) rowSums(newdata), data.frame(x = c(1, 2), y = c(1, 2)))
  expect_error(predict_rows(model, data.frame(z = 1, x = 1)),
    "no column \"y\": the model takes \"x\", \"y\", and newdata has \"z\", \"x\"", fixed = TRUE)
  expect_error(predict_rows(model, data.frame(row.names = 1:2)), "and newdata has none")
  expect_error(predict_rows(model, data.frame(z = numeric())), "no column")
  expect_error(predict_rows(model, list(x = 1, y = 2)), "newdata must be a data.frame")
  expect_identical(predict_rows(model, data.frame(y = 2:3, z = "other", x = c(1, 5))), list(prediction = c(3, 8)))
})
