test_that("an example has ten rows, then one with each nullable column missing, then one with all of them", {
  rows <- data.frame(a = 1:50 / 4, b = factor(rep(c("x", "y"), 25)), c = 1)
  example <- example_rows(rows, c("a", "b"))
  expect_identical(nrow(example), 13L)
  expect_identical(which(is.na(example$a)), c(11L, 13L))
  expect_identical(which(is.na(example$b)), c(12L, 13L))
  expect_identical(nrow(example_rows(rows, character())), 10L)
  expect_identical(nrow(example_rows(rows[1, ], "a")), 3L)
})

test_that("an example is written as labels, days, seconds and numbers with all their digits", {
  rows <- data.frame(x = 1 / 3, f = factor("b", levels = c("a", "b")), t = as.Date("1970-01-03"),
    z = structure(0.5, class = c("POSIXct", "POSIXt"), tzone = "UTC"), s = "NA", l = NA)
  model <- loaded(function(d) factor(as.integer(d$f), 1:2, c("a", "b")), rows)
  expect_identical(json_text(example_json(model, rows)), paste0(
    "{\"inputs\": {\"x\": [0.33333333333333331], \"f\": [\"b\"], \"t\": [2], \"z\": [0.5], \"s\": [\"NA\"], ",
    "\"l\": [null]}, \"outputs\": {\"prediction\": [\"b\"]}}"))
})
