nullable <- function(fun, example, ...) {
  fields <- Map(function(value, name) {
    list(name = name, type = column_type(value), vector = length(value) > 1L)
  }, example, names(example))
  model <- list(fun = fun, signature = list(inputs = unname(fields), outputs = list(list(name = "y", type = "double"))))
  vapply(unname(fields), function(field) takes_missing(model, example, field, ...), NA)
}

test_that("an input is nullable where the function answers with it missing, or with one of its values missing", {
  expect_identical(nullable(function(a, b) if (a > 0) sum(b) else 0, list(a = 1, b = c(1, 2, 3))), c(FALSE, TRUE))
  expect_identical(nullable(function(a) list(1, 2), list(a = 1)), FALSE)
})

test_that("a function that never ends with a missing value is given up", {
  waits <- function(a) repeat if (isTRUE(a > 0)) return(a)
  expect_identical(nullable(waits, list(a = 1), within_s = 0.2), FALSE)
})

test_that("the example is written as values that JSON carries", {
  fields <- list(list(name = "f", type = "factor", levels = c("a", "b")), list(name = "d", type = "date"))
  written <- call_json(list(f = factor("b", c("a", "b")), d = as.Date("1970-01-02")), list(f = 2L, d = c(1, NA)),
    list(inputs = fields, outputs = fields))
  expect_identical(json_text(written$inputs), "{\"f\": [\"b\"], \"d\": [1]}")
  expect_identical(json_text(written$outputs), "{\"f\": [\"b\"], \"d\": [1, null]}")
})
