skip_if_not_installed("e1071")

test_that("a packaged svm answers class and probabilities in the order of the levels; missing values are NA", {
  set.seed(4)
  fit <- e1071::svm(three ~ x + z + i + l + f + o, typed, probability = TRUE)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))[c("x", "z", "i", "l", "f", "o")]
  whole <- complete.cases(rows)
  expected <- predict(fit, rows[whole, ], probability = TRUE)
  p <- attr(expected, "probabilities")
  expect_false(identical(colnames(p), levels(typed$three)))
  expect_answers(dir, rows, list(
    class = among_missing(expected, whole), prob.a = among_missing(p[, "a"], whole),
    prob.b = among_missing(p[, "b"], whole), prob.c = among_missing(p[, "c"], whole)
  ))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "drop")
})

test_that("without probabilities it is the class, of numbers the value; fitted on a matrix its columns are known", {
  class <- e1071::svm(three ~ x + z, typed)
  expect_answers(pack(class, typed), typed, list(prediction = predict(class, typed)))
  value <- e1071::svm(typed[c("z", "x")], typed$y)
  expect_answers(pack(value, typed), typed, list(prediction = predict(value, typed[c("z", "x")])))
})

test_that("text is refused", {
  text <- transform(typed, f = as.character(f))
  expect_error(pack(e1071::svm(y ~ x + f, text), text), "by the levels of each request")
})
