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

test_that("a forest asked a few trees at a time answers the same to the last bit", {
  value <- grow(medv ~ ., MASS::Boston)
  odds <- grow(Species ~ ., iris, probability = TRUE)
  vote <- grow(Species ~ ., iris)
  rows <- MASS::Boston[sample(506, 64), ]
  size <- sum(lengths(value$forest$split.values)) / 2
  expect_gt(length(ranger_parts(value, 64, size)), 1)
  expect_identical(ranger_mean(value, rows, size), predict(value, rows)$predictions)
  expect_identical(ranger_mean(value, rows[7, ], size), predict(value, rows[7, ])$predictions)
  expect_gt(length(ranger_parts(odds, 64, 50)), 1)
  expect_identical(ranger_mean(odds, iris, 50), predict(odds, iris)$predictions)
  expect_identical(ranger_mean(odds, iris[7, ], 50), predict(odds, iris[7, ])$predictions)
  expect_identical(ranger_votes(vote, iris, 50), predict(vote, iris, predict.all = TRUE)$predictions)
  numbers <- grow(Species ~ ., transform(iris, Species = 10 * as.numeric(Species)), probability = TRUE)
  expect_identical(ranger_mean(numbers, iris[c(3, 60, 140), ], 50), predict(numbers, iris[c(3, 60, 140), ])$predictions)
})

test_that("a small forest, and rows by the thousand, go to predict() as they are", {
  value <- grow(medv ~ ., MASS::Boston)
  expect_identical(ranger_parts(value, 64), list(value))
  expect_identical(ranger_parts(value, 5000, 10), list(value))
  expect_identical(ranger_part_size(c(1, 2^19 - 1)), Inf)
  expect_lt(ranger_part_size(c(1, 2^19)), 2^19)
})
