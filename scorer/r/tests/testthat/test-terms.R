test_that("terms tell the columns of the right-hand side, offsets and functions' arguments included", {
  terms <- terms(log(y) ~ poly(a, 2) + b:c + offset(log(d)) + I(e^2))
  expect_identical(terms_inputs(terms), c("a", "b", "c", "d", "e"))
})

test_that("packages of functions are found by name and by where they live", {
  expect_identical(packages_named(quote(f(MASS::lda(x), stats::lm(y), nnet:::z))), c("MASS", "nnet"))
  environment <- new.env()
  environment$bs <- splines::bs
  expect_identical(packages_called(quote(bs(x, 3) + log(y)), environment), "splines")
})

test_that("the package of a class's predict method is found", {
  loadNamespace("rpart")
  expect_identical(predict_packages(structure(list(), class = "rpart")), "rpart")
  expect_identical(predict_packages(lm(dist ~ speed, cars)), character())
  expect_identical(predict_packages(list()), character())
})
