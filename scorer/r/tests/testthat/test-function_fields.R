test_that("types are said in R's words or ours, with [] for vectors", {
  types <- list(a = "numeric", b = "character[]", c = "Date", d = "POSIXct[]")
  fields <- describe_function_side(types, list(), "inputs")
  expect_identical(vapply(fields, `[[`, "", "type"), c("double", "string", "date", "datetime"))
  expect_identical(vapply(fields, function(field) isTRUE(field$vector), NA), c(FALSE, TRUE, FALSE, TRUE))
})

test_that("a factor has the levels and order of its value in the example", {
  value <- factor("b", c("b", "a"), ordered = TRUE)
  field <- describe_function_side(list(f = "factor"), list(f = value), "inputs")[[1L]]
  expect_identical(field[c("levels", "ordered")], list(levels = c("b", "a"), ordered = TRUE))
  expect_identical(rebuild_input(factor("a"), field), factor("a", c("b", "a"), ordered = TRUE))
})

test_that("values are rebuilt as a worker has them, and missing ones are of the type", {
  date <- list(name = "d", type = "date")
  expect_identical(rebuild_input(as.Date(structure(1L, class = "Date")), date), structure(1, class = "Date"))
  expect_identical(rebuild_input(NA, list(name = "s", type = "string")), NA_character_)
  expect_identical(rebuild_input(c(a = 2), list(name = "i", type = "integer")), 2L)
  expect_error(rebuild_input("2", list(name = "x", type = "double")), "which is no double")
})
