net <- function(...) {
  set.seed(2)
  nnet::nnet(..., size = 3, trace = FALSE, maxit = 40)
}

test_that("a packaged net answers all levels' probabilities and the first maximum, missing values in place", {
  fit <- net(three ~ x + z + i + l + f + o, typed)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))
  p <- predict(fit, rows)
  expect_answers(dir, rows, list(class = first_maximum(p, fit$lev), prob.a = p[, 1], prob.b = p[, 2], prob.c = p[, 3]))
  expect_identical(unique(missing_said(dir)), "na")
  expect_true(read_manifest(dir)$batchable)
})

test_that("two classes have two probabilities, and one row has them too", {
  fit <- net(two ~ x + z, typed)
  answer <- model_predict(fit, typed[4, ], list())
  p <- as.vector(predict(fit, typed[4, ]))
  expect_identical(answer[-1], list(prob.no = 1 - p, prob.yes = p))
  expect_identical(as.character(answer$class), as.character(predict(fit, typed[4, ], type = "class")))
})

test_that("a net of numbers is a vector; one fitted on a matrix wants as many columns", {
  fit <- net(y ~ x + z, typed, linout = TRUE)
  expect_answers(pack(fit, typed), typed, list(prediction = predict(fit, typed)))
  plain <- net(as.matrix(typed[c("x", "z")]), typed$y, linout = TRUE)
  expect_answers(pack(plain, typed[c("x", "z")]), typed, list(prediction = predict(plain, typed[c("x", "z")])))
  expect_error(pack(plain, typed[c("x", "z", "y")]), "a matrix of 2 columns and the sample has 3")
})
