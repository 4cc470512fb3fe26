test_that("the method is that of the first class that has one", {
  expect_identical(model_method(glm(am ~ wt, binomial(), mtcars)), "glm")
  expect_identical(model_method(aov(dist ~ speed, cars)), "lm")
  expect_identical(model_method(list()), "default")
})

test_that("a manifest's method is looked up by name; one that is not known asks for another release", {
  expect_identical(predict_method("lm"), model_predict.lm)
  expect_error(predict_method("xgb.Booster"), "install the release")
})

test_that("the first of equal maxima wins, a missing score has no class", {
  scores <- rbind(c(0.4, 0.4, 0.2), c(0.1, 0.2, 0.7), c(NA, 1, 0))
  expect_identical(as.integer(first_maximum(scores, c("a", "b", "c"))), c(1L, 3L, NA))
})
