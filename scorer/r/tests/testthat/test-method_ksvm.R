skip_if_not_installed("kernlab")

test_that("a packaged ksvm answers class and probabilities; missing values are NA", {
  set.seed(5)
  fit <- kernlab::ksvm(three ~ x + z + i + l + f + o, typed, prob.model = TRUE)
  dir <- pack(fit, typed)
  rows <- holed(c("x", "f", "l"))[c("x", "z", "i", "l", "f", "o")]
  whole <- complete.cases(rows)
  p <- kernlab::predict(fit, rows[whole, ], type = "probabilities")
  expect_answers(dir, rows, list(
    class = among_missing(kernlab::predict(fit, rows[whole, ]), whole), prob.a = among_missing(p[, "a"], whole),
    prob.b = among_missing(p[, "b"], whole), prob.c = among_missing(p[, "c"], whole)
  ))
  expect_identical(unique(missing_said(dir)), "drop")
  expect_named(read_manifest(dir)$packages, "kernlab")
})

test_that("without probabilities it is the class, of numbers the value", {
  class <- kernlab::ksvm(two ~ x + z, typed)
  expect_answers(pack(class, typed), typed, list(prediction = kernlab::predict(class, typed)))
  value <- kernlab::ksvm(as.matrix(typed[c("z", "x")]), typed$y)
  expect_answers(pack(value, typed), typed, list(prediction = kernlab::predict(value, as.matrix(typed[c("z", "x")]))))
})
