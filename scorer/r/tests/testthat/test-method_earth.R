skip_if_not_installed("earth")

test_that("a packaged earth answers its response, missing values in place", {
  fit <- earth::earth(y ~ x + z + i + l + f, typed)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))
  expect_answers(dir, rows, list(prediction = predict(fit, rows)))
  expect_identical(missing_said(dir)[["x"]], "na")
  expect_true(read_manifest(dir)$batchable)
})

test_that("fitted on a factor it answers class and each level's response", {
  three <- earth::earth(three ~ x + z + f, typed, glm = list(family = binomial))
  p <- predict(three, typed, type = "response")
  answer <- model_predict(three, typed, list())
  expect_identical(answer$prob.b, unname(p[, "b"]))
  expect_identical(as.character(answer$class), as.vector(predict(three, typed, type = "class")))
  rows <- transform(typed[1:2, ], x = c(NA, 1))
  expect_identical(is.na(model_predict(three, rows, list())$class), c(TRUE, FALSE))
  two <- earth::earth(two ~ x + z, typed, glm = list(family = binomial))
  answer <- model_predict(two, typed[3, ], list())
  expect_identical(answer$prob.yes, as.vector(predict(two, typed[3, ], type = "response")))
  expect_identical(answer$prob.no, 1 - answer$prob.yes)
})

test_that("fitted on a matrix, the columns are known by name", {
  fit <- earth::earth(typed[c("z", "x")], typed$y)
  expect_identical(model_inputs(fit), c("z", "x"))
  expect_answers(pack(fit, typed), typed, list(prediction = predict(fit, typed[c("z", "x")])))
})
