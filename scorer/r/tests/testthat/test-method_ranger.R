grow <- function(...) ranger::ranger(..., num.trees = 9, num.threads = 1, seed = 1)

test_that("values, probabilities and classes are predict()'s but for ties", {
  value <- grow(medv ~ ., MASS::Boston)
  expect_identical(model_predict(value, MASS::Boston, list()), predict(value, MASS::Boston)$predictions)
  odds <- grow(Species ~ ., iris, probability = TRUE)
  answer <- model_predict(odds, iris, list())
  expect_identical(answer$prob.virginica, unname(predict(odds, iris)$predictions[, "virginica"]))
  expect_identical(model_predict(odds, iris[5, ], list())$prob.setosa, answer$prob.setosa[5])
  vote <- grow(Species ~ ., iris)
  class <- model_predict(vote, iris, list())
  expect_gt(mean(class == predict(vote, iris)$predictions), 0.98)
  expect_identical(model_predict(vote, iris[77, ], list()), class[77])
})

test_that("classes absent from the training data have no probability", {
  odds <- suppressWarnings(grow(Species ~ ., iris[1:100, ], probability = TRUE))
  expect_identical(names(model_predict(odds, iris[1:3, ], list())), c("class", "prob.setosa", "prob.versicolor"))
})

test_that("a forest of classes grown on numbers answers numbers", {
  data <- transform(iris, Species = as.numeric(Species) * 10)
  vote <- grow(Species ~ ., data, classification = TRUE)
  expect_identical(unique(model_predict(vote, data, list())), c(10, 20, 30))
})

test_that("a packaged ranger is batchable, not nullable, and takes factors", {
  data <- transform(iris, Species = factor(Species, levels = rev(levels(Species))))
  fit <- grow(Sepal.Length ~ ., data)
  dir <- pack(fit, data)
  expect_identical(answers(dir, data)$prediction, predict(fit, data)$predictions)
  manifest <- read_manifest(dir)
  expect_true(manifest$batchable)
  expect_identical(unique(vapply(manifest$signature$inputs, `[[`, "", "missing")), "fail")
})

test_that("text that ranger would read by each request's own levels is refused", {
  data <- transform(iris, Species = as.character(Species))
  expect_error(pack(grow(Sepal.Length ~ ., data), data), "answering another number silently")
})

test_that("a survival forest is refused with what to do", {
  data <- transform(survival::veteran, trt = factor(trt))
  fit <- grow(survival::Surv(time, status) ~ age + karno, data)
  expect_error(pack(fit, data), "no answer of one value per row")
})
