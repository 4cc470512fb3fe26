skip_if_not_installed("caret")
none <- caret::trainControl("none", classProbs = TRUE)

test_that("a packaged train answers class and probabilities, rows with missing values NA, its packages recorded", {
  fit <- caret::train(three ~ x + z + i + l + f + o, typed, method = "lda", trControl = none)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))[c("x", "z", "i", "l", "f", "o")]
  whole <- complete.cases(rows)
  p <- predict(fit, rows, type = "prob")
  expect_answers(dir, rows, list(class = among_missing(predict(fit, rows), whole), prob.a = among_missing(p$a, whole),
    prob.b = among_missing(p$b, whole), prob.c = among_missing(p$c, whole)))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "drop")
  expect_named(read_manifest(dir)$packages, c("MASS", "caret"))
})

test_that("a train without a formula keeps its columns; of numbers it answers the value", {
  fit <- caret::train(typed[c("z", "x")], typed$y, method = "lm", trControl = caret::trainControl("none"))
  expect_identical(model_inputs(fit), c("z", "x"))
  expect_answers(pack(fit, typed), typed, list(prediction = unname(predict(fit, typed))))
})

test_that("a class drawn at random among equal votes is the first maximum, or not batchable", {
  set.seed(6)
  forest <- caret::train(three ~ x + z, typed, method = "rf", ntree = 8, trControl = caret::trainControl("none"),
    tuneGrid = data.frame(mtry = 1))
  answer <- model_predict(forest, typed, list())
  expect_identical(answer$class, first_maximum(as.matrix(predict(forest, typed, type = "prob")), levels(typed$three)))
  forest$method <- "ranger"
  forest$control$classProbs <- FALSE
  expect_match(model_tie_breaker(forest), "decided at random")
  expect_null(model_tie_breaker(lm(y ~ x, typed)))
})
