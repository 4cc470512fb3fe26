test_that("any class is asked by predict(), with the options given", {
  fit <- loess(dist ~ speed, cars, control = loess.control(surface = "interpolate"))
  expect_identical(model_predict(fit, cars, list()), predict(fit, cars))
  probit <- MASS::polr(factor(Species, ordered = TRUE) ~ Sepal.Length, iris, Hess = FALSE)
  expect_identical(model_predict(probit, iris, list(type = "probs")), predict(probit, iris, type = "probs"))
})

test_that("a packaged lda answers class and posterior; its package is found and declared", {
  fit <- MASS::lda(Species ~ ., iris)
  dir <- pack(fit, iris)
  expected <- predict(fit, iris)
  got <- answers(dir, iris)
  expect_identical(got$class, as.integer(expected$class))
  expect_identical(got$posterior.virginica, unname(expected$posterior[, "virginica"]))
  expect_named(read_manifest(dir)$packages, "MASS")
})

test_that("options are fixed in the manifest and used at load", {
  fit <- loess(dist ~ speed, cars)
  fit2 <- nls(dist ~ a * speed, cars, start = list(a = 1))
  expect_identical(answers(pack(fit2, cars, inputs = "speed"), cars)$prediction, as.vector(predict(fit2, cars)))
  dir <- pack(fit, cars, options = list(se = FALSE))
  expect_identical(read_manifest(dir)$predict$options, list(se = FALSE))
  expect_identical(answers(dir, cars)$prediction, unname(predict(fit, cars)))
})
