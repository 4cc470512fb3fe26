test_that("outputs are described from an answer", {
  described <- describe_outputs(list(class = factor("a", levels = c("a", "b")), p = 0.5, n = 1L, t = as.Date(1,
    origin = "1970-01-01")), 1L)
  expect_identical(described$kind, "table")
  expect_identical(vapply(described$outputs, `[[`, "", "type"), c("factor", "double", "integer", "date"))
  expect_identical(described$outputs[[1]]$levels, c("a", "b"))
  expect_identical(describe_outputs(c(NA, NA), 2L)$outputs[[1]]$type, "double")
})

test_that("an answer that cannot be sent is refused with what to return", {
  expect_error(describe_outputs(as.difftime(1, units = "secs"), 1L), "cannot be sent", class = "scoregate_bad_output")
  expect_error(describe_outputs(data.frame(`__x` = 1, check.names = FALSE), 1L), "cannot be one of the outputs")
})

test_that("a fresh process that answers otherwise than the session is a reason to refuse, the last bits are not", {
  model <- loaded(function(d) d$x, data.frame(x = 1))
  expect_error(compare_sessions(model, data.frame(x = 1), list(prediction = 1.001)), "fresh R process .* otherwise")
  expect_silent(compare_sessions(model, data.frame(x = 1), list(prediction = 1 + 1e-12)))
  expect_silent(compare_sessions(model, data.frame(x = 1), NULL))
})

test_that("missing values are told in words", {
  expect_identical(describe_missing(c(a = "na", b = "na")), "NA, in every column")
  expect_match(describe_missing(c(a = "na", b = "fail")), "NA in \"a\"; a refusal before R in \"b\"")
})

test_that("a formula that computes from the rows it is given is refused with what to do", {
  said_of <- function(...) conditionMessage(expect_error(pack(...), class = "scoregate_proof_failed"))
  note <- said_of(lm(y ~ cut(x, 3), typed), typed)
  expect_match(note, "scores its sample as a whole, but not 5 rows of it: factor cut(x, 3) has new level", fixed = TRUE)
  expect_match(note, "as in cut(x, c(0, 10, 20))", fixed = TRUE)
  alone <- function(model, newdata) if (nrow(newdata) == 1L) stop("one row only") else newdata$x
  expect_match(said_of(list(), typed["x"], predict = alone), "not 1 row of it: one row only")
  few <- function(model, newdata) if (nrow(newdata) == 3L) stop("not three") else newdata$x
  expect_match(said_of(list(), typed["x"], predict = few), "not 3 rows of it: not three")
})
