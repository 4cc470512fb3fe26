everything <- data.frame(
  d = c(0.1, NA), i = c(3L, NA), l = c(TRUE, NA), s = c("x", NA), f = factor(c("b", NA), levels = c("b", "a")),
  o = factor(c("lo", "hi"), levels = c("lo", "hi"), ordered = TRUE), t = as.Date(c("2024-02-29", NA)),
  z = as.POSIXct(c("2024-02-29 12:00:00", NA), tz = "Asia/Tokyo")
)

test_that("every type is read off a sample, with levels in order and the range seen", {
  fields <- describe_inputs(everything)
  expect_identical(vapply(fields, `[[`, "", "type"),
    c("double", "integer", "logical", "string", "factor", "factor", "date", "datetime"))
  expect_identical(fields[[5]]$levels, c("b", "a"))
  expect_identical(c(fields[[5]]$ordered, fields[[6]]$ordered), c(FALSE, TRUE))
  expect_identical(fields[[1]]$range, list(0.1, 0.1))
  expect_identical(fields[[7]]$range, list("2024-02-29", "2024-02-29"))
  expect_identical(fields[[8]]$range, list("2024-02-29T03:00:00Z", "2024-02-29T03:00:00Z"))
})

test_that("rows are rebuilt as a worker builds them, missing values kept", {
  rows <- rebuild_rows(everything, describe_inputs(everything))
  expect_identical(rows$z, structure(c(1709175600, NA), class = c("POSIXct", "POSIXt"), tzone = "UTC"))
  same <- c("d", "i", "l", "s", "f", "o", "t")
  expect_identical(rows[same], everything[same])
})

test_that("levels the model knows win over those of the sample, and text with known levels is a factor", {
  sample <- data.frame(f = factor("a", levels = c("z", "a")), s = "v")
  fields <- describe_inputs(sample, list(f = c("a", "b"), s = c("u", "v")))
  expect_identical(fields[[1]]$levels, c("a", "b"))
  expect_identical(fields[[2]][c("type", "levels")], list(type = "factor", levels = c("u", "v")))
  expect_error(describe_inputs(data.frame(f = factor("q")), list(f = "a")), "which the model does not know")
})

test_that("columns that no caller can send are refused with what to convert to", {
  expect_error(describe_inputs(data.frame(x = I(list(1)))), "make each of its parts a column")
  expect_error(describe_inputs(data.frame(x = I(matrix(1:2, 1)))), "make each of its parts a column")
  expect_error(describe_inputs(data.frame(x = as.difftime(1, units = "secs"))), "convert it to")
  expect_error(describe_inputs(data.frame(x = 1i)), "convert it to")
  expect_error(describe_inputs(data.frame(x = addNA(factor(c("a", NA))))), "NA among its levels")
  expect_error(describe_inputs(data.frame(x = factor(NA))), "no levels")
  expect_error(describe_inputs(data.frame(x = "\xff")), "not UTF-8")
})

test_that("the columns are those said, else those told and named in code, else all", {
  sample <- data.frame(y = 1, b = 1, a = 1, flag = 1)
  expect_identical(choose_columns(sample, NULL), names(sample))
  expect_identical(choose_columns(sample, c("a", "b", "pi")), c("b", "a"))
  expect_identical(choose_columns(sample, "a", named_in_code = c("flag", "c")), c("a", "flag"))
  expect_identical(choose_columns(sample, "a", said = c("b", "y")), c("y", "b"))
  expect_error(choose_columns(sample, NULL, said = "q"), "which the sample does not have")
})
