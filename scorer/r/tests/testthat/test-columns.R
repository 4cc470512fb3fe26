field <- function(name, type, ...) list(name = name, type = type, ...)

test_that("a vector, a factor and a one-column matrix are a vector called prediction", {
  for (answer in list(c(1, 2), factor(c("a", "b")), matrix(1:2), array(1:2))) {
    found <- answer_columns(answer)
    expect_identical(found$kind, "vector")
    expect_identical(names(found$columns), "prediction")
  }
})

test_that("a data.frame, a matrix of several columns and a named list are a table", {
  expect_identical(answer_columns(data.frame(a = 1, b = 2))$columns, list(a = 1, b = 2))
  expect_identical(answer_columns(matrix(1:4, 2))$columns, list(prediction.1 = 1:2, prediction.2 = 3:4))
  expect_identical(answer_columns(cbind(fit = 1, lwr = 2))$columns, list(fit = 1, lwr = 2))
  expect_identical(answer_columns(list(class = "a", x = 1))$kind, "table")
})

test_that("a matrix inside a list becomes columns of its own", {
  answer <- list(class = c("a", "b"), posterior = cbind(a = c(1, 0), b = c(0, 1)))
  expect_identical(names(answer_columns(answer)$columns), c("class", "posterior.a", "posterior.b"))
})

test_that("NULL, a function, an unnamed list and a 3-d array are refused with what to return", {
  for (answer in list(NULL, mean, list(1, 2), array(1:8, c(2, 2, 2)))) {
    expect_error(answer_columns(answer), "return a vector", class = "scoregate_bad_output")
  }
})

test_that("columns are reduced to the base vectors of their types", {
  fields <- list(field("d", "double"), field("i", "integer"), field("l", "logical"), field("s", "string"),
    field("f", "factor", levels = c("a", "b")), field("t", "date"), field("z", "datetime"))
  columns <- list(d = 1:2, i = c(1, NA), l = c(TRUE, NA), s = factor(c("x", NA)), f = c("b", NA),
    t = as.Date(c("1970-01-02", NA)), z = as.POSIXct(c(1.5, NA), origin = "1970-01-01", tz = "Europe/Rome"))
  expect_identical(reduce_columns(columns, fields, 2L), list(
    d = c(1, 2), i = c(1L, NA), l = c(TRUE, NA), s = c("x", NA), f = c(2L, NA), t = c(1, NA), z = c(1.5, NA)
  ))
})

test_that("a factor's codes follow the signature's levels, not its own", {
  expect_identical(reduce_factor(factor(c("b", "a"), levels = c("b", "a")), c("a", "b")), c(2L, 1L))
})

test_that("only missing values fit every type", {
  for (type in c("double", "integer", "logical", "string", "factor", "date", "datetime")) {
    expect_identical(reduce_column(c(NA, NA), field("x", type, levels = "a")), missing_values(type, 2L))
  }
})

test_that("a value of another type, an unknown class and half an integer are bad outputs", {
  expect_error(reduce_column("a", field("x", "double")), "string|double", class = "scoregate_bad_output")
  expect_error(reduce_column("c", field("x", "factor", levels = c("a", "b"))), "not one of the signature's: a, b",
    class = "scoregate_bad_output")
  expect_error(reduce_column(1.5, field("x", "integer")), "which is integer", class = "scoregate_bad_output")
})

test_that("NaN, infinities, -0 and NA stay what they are", {
  values <- c(NaN, Inf, -Inf, -0, NA, 5e-324)
  expect_true(identical(reduce_column(values, field("x", "double")), values, num.eq = FALSE, single.NA = FALSE))
})

test_that("too few values are a wrong length", {
  expect_error(reduce_columns(list(x = 1), list(field("x", "double")), 2L), "1 values of x for 2 rows",
    class = "scoregate_wrong_length")
})

test_that("other columns than the signature's are a bad output", {
  expect_error(reduce_columns(list(y = 1), list(field("x", "double")), 1L), class = "scoregate_bad_output")
})

test_that("text that is not UTF-8 is a bad output, whatever R would make of it; text in latin1 is converted", {
  field <- list(name = "note", type = "string")
  native <- "a\xff"
  marked <- native
  Encoding(marked) <- "UTF-8"
  bytes <- native
  Encoding(bytes) <- "bytes"
  for (text in list(native, marked, bytes, c("fine", NA, native), factor(native))) {
    expect_error(reduce_column(text, field), "text as note that is not UTF-8", class = "scoregate_bad_output")
  }
  latin <- "caf\xe9"
  Encoding(latin) <- "latin1"
  expect_identical(charToRaw(reduce_column(latin, field)), charToRaw("caf\u00e9"))
  expect_identical(reduce_column(c("z\u00fc", NA), field), c("z\u00fc", NA))
  expect_error(describe_outputs(factor(native), 1L), "not UTF-8", class = "scoregate_bad_output")
})
