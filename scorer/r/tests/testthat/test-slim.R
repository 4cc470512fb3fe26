test_that("two residuals keep a sum of squares to its last bit", {
  set.seed(1)
  sums <- c(0, 1, 2, 5e-310, 1e300, rexp(2000) * 10^sample(-20:20, 2000, TRUE))
  expect_identical(vapply(sums, function(rss) sum(residuals_of_sum(rss)^2), 0), sums)
})

answer_for <- function(data, ...) function(model) predict(model, data, ...)

test_that("a slim lm predicts and gives intervals to the same bit, rank-deficient and weighted fits included", {
  data <- data.frame(y = mtcars$mpg, a = mtcars$wt, b = 2 * mtcars$wt, c = mtcars$hp, w = mtcars$cyl)
  for (fit in list(lm(y ~ a + c, data), lm(y ~ a + b + c, data), lm(y ~ poly(a, 2), data, weights = w))) {
    for (interval in c("none", "prediction", "confidence")) {
      answer <- function(model) suppressWarnings(predict(model, data, interval = interval, level = 0.9))
      slimmed <- slim_model(fit, answer)
      expect_null(slimmed$why)
      expect_lt(slimmed$after, slimmed$before)
      expect_identical(answer(slimmed$model), answer(fit))
    }
  }
})

test_that("a slim glm, multinom, rpart, randomForest and ranger answer the same in less room", {
  set.seed(1)
  models <- list(
    glm(am ~ wt + hp, binomial(), mtcars),
    nnet::multinom(Species ~ ., iris, trace = FALSE),
    rpart::rpart(Species ~ ., iris, model = TRUE),
    randomForest::randomForest(Species ~ ., iris, ntree = 5),
    ranger::ranger(Species ~ ., iris, num.trees = 5, num.threads = 1)
  )
  for (model in models) {
    data <- if (inherits(model, "glm")) mtcars else iris
    answer <- function(model) model_predict(model, data, list())
    slimmed <- slim_model(model, answer)
    expect_null(slimmed$why, info = class(model)[1])
    expect_lt(slimmed$after, slimmed$before)
  }
})

test_that("the frame of a function that fitted is left out, the functions its formula names are kept", {
  fit <- (function() {
    ballast <- runif(1e5)
    half <- function(x) twice(x) / 4
    twice <- function(x) 2 * x
    lm(dist ~ half(speed), cars)
  })()
  answer <- answer_for(data.frame(speed = c(4, 9.5)))
  slimmed <- slim_model(fit, answer)
  expect_null(slimmed$why)
  expect_gt(slimmed$before, 8e5)
  expect_lt(slimmed$after, 3e4)
  expect_identical(answer(slimmed$model), answer(fit))
})

test_that("data written into a call are left out", {
  big <- data.frame(y = runif(1e4), x = runif(1e4))
  fit <- do.call(lm, list(y ~ x, data = big))
  expect_lt(slim_model(fit, answer_for(big))$after, 2e4)
})

test_that("a model that answers otherwise without its parts is left as it is, with the reason", {
  fit <- lm(dist ~ speed, cars)
  slimmed <- slim_model(fit, function(model) residuals(model))
  expect_identical(slimmed$model, fit)
  expect_match(slimmed$why, "does not answer the same")
  expect_match(slim_model(list(1), identity)$why, "not known to carry")
})
