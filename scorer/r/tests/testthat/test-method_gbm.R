skip_if_not_installed("gbm")
grow <- function(...) {
  set.seed(3)
  gbm::gbm(..., n.trees = 30, interaction.depth = 2, verbose = FALSE)
}

test_that("a packaged gbm answers its response with the trees fixed at packaging, missing values too", {
  fit <- grow((two == "yes") ~ x + z + i + f + o, "bernoulli", typed)
  dir <- pack(fit, typed, options = list(n.trees = 20), slim = TRUE)
  rows <- holed(c("x", "f", "o"))
  expect_answers(dir, rows, list(prediction = predict(fit, rows, n.trees = 20, type = "response")))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "value")
  expect_identical(model_options(fit, list()), list(n.trees = 30L))
  expect_error(model_options(fit, list(n.trees = 31)), "from 1 to the 30 trees")
})

test_that("text is read by the levels of the fit, not of the request", {
  fit <- grow(y ~ x + f, "gaussian", typed)
  text <- transform(typed, f = as.character(f))
  dir <- pack(fit, text)
  expect_answers(dir, text[3, ], list(prediction = predict(fit, typed[3, ], n.trees = 30)))
  expect_identical(read_manifest(dir)$signature$inputs[[2]]$levels, levels(typed$f))
})

test_that("a multinomial answers class and probabilities", {
  fit <- suppressWarnings(grow(three ~ x + z, "multinomial", typed))
  p <- predict(fit, typed, n.trees = 30, type = "response")[, , 1]
  answer <- model_predict(fit, typed, model_options(fit, list()))
  expect_identical(answer, class_and_probabilities(unname(p), c("a", "b", "c")))
})
