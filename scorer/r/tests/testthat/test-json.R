test_that("doubles are written so that every bit comes back", {
  set.seed(1)
  numbers <- readBin(as.raw(sample(0:255, 80000, TRUE)), "double", 10000)
  numbers <- c(numbers[is.finite(numbers)], 0.1, 1 / 3, 5e-324, .Machine$double.xmax, -0)
  back <- jsonlite::fromJSON(json_text(numbers))
  expect_true(identical(back, numbers, num.eq = FALSE))
})

test_that("missing and non-finite numbers are null and strings", {
  expect_identical(json_text(c(NA, NaN, Inf, -Inf)), "[null, null, \"Inf\", \"-Inf\"]")
  expect_identical(json_text(c(NA, 1L)), "[null, 1]")
  expect_identical(json_text(c(TRUE, NA)), "[true, null]")
})

test_that("strings are escaped, in UTF-8, and NA is null, not \"NA\"", {
  strings <- c("a\"b\\c\n\t\001", "h\u00e9\u20ac\U1F600", "NA", NA)
  back <- jsonlite::fromJSON(json_text(list(json_array(strings))), simplifyVector = FALSE)[[1]]
  expect_identical(back, list(strings[1], strings[2], "NA", NULL))
})

test_that("latin1 text is written as UTF-8", {
  latin <- "\xe9"
  Encoding(latin) <- "latin1"
  expect_identical(charToRaw(json_text(latin)), charToRaw("\"\u00e9\""))
})

test_that("lists are objects and arrays, empty ones too, and NULL is null", {
  expect_identical(json_text(list(a = 1, b = list("x", NULL))), "{\"a\": 1, \"b\": [\"x\", null]}")
  expect_identical(json_text(named(list())), "{}")
  expect_identical(json_text(list()), "[]")
  expect_identical(json_text(list(a = named(list())), depth = 3L), "{\n  \"a\": {}\n}")
  expect_identical(json_text(json_array("x")), "[\"x\"]")
})

test_that("classed vectors are refused rather than written wrong", {
  expect_error(json_text(factor("a")), "plain vectors")
})
