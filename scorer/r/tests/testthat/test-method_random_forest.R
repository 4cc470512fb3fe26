set.seed(1)
forest <- randomForest::randomForest(medv ~ ., MASS::Boston, ntree = 20)
classes <- randomForest::randomForest(Species ~ ., iris, ntree = 7)

test_that("a forest of values is predict(), a forest of classes its probabilities and their first maximum", {
  expect_identical(model_predict(forest, MASS::Boston, list()), unname(predict(forest, MASS::Boston)))
  answer <- model_predict(classes, iris, list())
  probabilities <- predict(classes, iris, type = "prob")
  expect_identical(answer$prob.setosa, as.vector(probabilities[, "setosa"]))
  tied <- apply(probabilities, 1, function(p) sum(p == max(p)) > 1)
  expect_identical(as.character(answer$class)[!tied], unname(as.character(predict(classes, iris)))[!tied])
  expect_identical(as.integer(answer$class), unname(apply(probabilities, 1, which.max)))
})

test_that("the cutoff decides the class", {
  set.seed(1)
  cut <- randomForest::randomForest(Species ~ ., iris, ntree = 7, cutoff = c(0.6, 0.3, 0.1))
  probabilities <- predict(cut, iris, type = "prob")
  weighed <- t(t(probabilities) / c(0.6, 0.3, 0.1))
  tied <- apply(weighed, 1, function(p) sum(p == max(p)) > 1)
  expect_identical(as.character(model_predict(cut, iris, list())$class)[!tied],
    unname(as.character(predict(cut, iris)))[!tied])
})

test_that("a packaged forest is R's to the last bit and batchable, classes too", {
  dir <- pack(forest, MASS::Boston, slim = TRUE)
  expect_identical(answers(dir, MASS::Boston)$prediction, unname(predict(forest, MASS::Boston)))
  manifest <- read_manifest(dir)
  expect_true(manifest$batchable)
  expect_identical(manifest$predict$method, "randomForest")
  expect_true(read_manifest(pack(classes, iris))$batchable)
})

test_that("a forest without a formula tells its columns and fails on missing values", {
  set.seed(1)
  plain <- randomForest::randomForest(MASS::Boston[c("rm", "lstat")], MASS::Boston$medv, ntree = 5)
  expect_identical(model_inputs(plain), c("rm", "lstat"))
  inputs <- read_manifest(pack(plain, MASS::Boston))$signature$inputs
  expect_identical(vapply(inputs, `[[`, NA, "nullable"), c(FALSE, FALSE))
})

test_that("one level of a factor, alone in a row, is that level", {
  set.seed(1)
  data <- transform(MASS::Boston, chas = factor(chas, labels = c("no", "yes")))
  fit <- randomForest::randomForest(medv ~ chas + rm, data, ntree = 5)
  dir <- pack(fit, data)
  rows <- data[data$chas == "yes", ][1, ]
  expect_identical(answers(dir, rows)$prediction, unname(predict(fit, rows)))
})
