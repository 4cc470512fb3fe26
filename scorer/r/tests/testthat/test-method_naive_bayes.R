skip_if_not_installed("e1071")

test_that("a packaged naiveBayes answers class and probabilities, missing values too", {
  fit <- e1071::naiveBayes(three ~ x + z + i + l + f + o, typed)
  dir <- pack(fit, typed)
  rows <- holed(c("x", "f", "l"))
  p <- predict(fit, rows, type = "raw")
  expect_answers(dir, rows, list(class = predict(fit, rows), prob.a = p[, "a"], prob.b = p[, "b"], prob.c = p[, "c"]))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "value")
})

test_that("text has the levels of the fit; threshold and eps are options", {
  text <- transform(typed, f = as.character(f))
  fit <- e1071::naiveBayes(text[c("f", "x")], typed$two)
  dir <- pack(fit, text, options = list(threshold = 0.01))
  expect_answers(dir, text[5, ], list(class = predict(fit, text[5, ], threshold = 0.01),
    prob.no = predict(fit, text[5, ], "raw", threshold = 0.01)[, 1],
    prob.yes = predict(fit, text[5, ], "raw", threshold = 0.01)[, 2]))
  expect_error(model_options(fit, list(type = "raw")), "takes no option \"type\"")
})
