test_that("multinom answers all levels' probabilities for one row and for two classes", {
  three <- nnet::multinom(Species ~ ., iris, trace = FALSE)
  one <- model_predict(three, iris[1, ], list())
  expect_identical(unlist(one[-1], use.names = FALSE), unname(predict(three, iris[1, ], type = "probs")))
  pair <- droplevels(iris[iris$Species != "setosa", ])
  two <- nnet::multinom(Species ~ Sepal.Length, pair, trace = FALSE)
  answer <- model_predict(two, pair, list())
  p <- unname(predict(two, pair, type = "probs"))
  expect_identical(answer$prob.virginica, p)
  expect_identical(answer$prob.versicolor, 1 - p)
  expect_identical(as.character(answer$class), as.character(predict(two, pair)))
})

test_that("a packaged multinom answers NA for a row with a missing value, alone too", {
  fit <- nnet::multinom(Species ~ ., iris, trace = FALSE)
  dir <- pack(fit, iris)
  rows <- iris[c(1, 60, 120), ]
  rows$Petal.Width[2] <- NA
  got <- answers(dir, rows)
  expect_identical(got$class, c(1L, NA, 3L))
  expect_identical(got$prob.virginica, unname(predict(fit, rows, type = "probs")[, "virginica"]))
  expect_identical(answers(dir, rows[2, ])$class, NA_integer_)
  expect_identical(read_manifest(dir)$packages, list(nnet = package_version_text("nnet")))
})
