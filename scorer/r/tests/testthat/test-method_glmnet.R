skip_if_not_installed("glmnet")
columns <- c("x", "z", "i", "l", "f", "o")
x <- model.matrix(~ ., typed[columns])[, -1]
rows <- holed(c("x", "f", "l"), typed[columns])
complete <- complete.cases(rows)
newx <- model.matrix(~ ., rows)[, -1]

test_that("a packaged cv.glmnet makes its matrix from the columns, at lambda.1se, rows with missing values NA", {
  set.seed(1)
  fit <- glmnet::cv.glmnet(x, typed$two, family = "binomial", nfolds = 4)
  dir <- pack(fit, typed[columns], slim = TRUE)
  expected <- predict(fit, newx, s = "lambda.1se", type = "response")
  expect_answers(dir, rows, list(prediction = among_missing(expected, complete)))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "drop")
  expect_identical(read_manifest(dir)$predict$options, list(s = "lambda.1se"))
  expect_answers(dir, typed[7, ], list(prediction = predict(fit, x[7, , drop = FALSE], type = "response")))
})

test_that("a glmnet needs one lambda; a multinomial answers class and probabilities", {
  fit <- glmnet::glmnet(x, typed$three, family = "multinomial")
  expect_error(pack(fit, typed[columns]), "say which by options")
  dir <- pack(fit, typed[columns], options = list(s = 0.02))
  p <- predict(fit, newx, s = 0.02, type = "response")[, , 1]
  expect_answers(dir, rows, list(
    class = factor(fit$classnames)[among_missing(as.integer(factor(predict(fit, newx, s = 0.02, type = "class"),
      levels = fit$classnames)), complete)],
    prob.a = among_missing(p[, 1], complete), prob.b = among_missing(p[, 2], complete),
    prob.c = among_missing(p[, 3], complete)
  ))
})

test_that("every level a column, a formula, text, and columns as they are", {
  all_levels <- glmnet::makeX(typed[c("x", "f")])
  fit <- glmnet::glmnet(all_levels, typed$y, lambda = 0.01)
  expect_identical(model_predict(fit, typed[c("x", "f")], model_options(fit, list())),
    as.vector(predict(fit, all_levels)))
  text <- transform(typed, f = as.character(f))
  expect_answers(pack(fit, text[c("x", "f")]), text, list(prediction = predict(fit, all_levels)))
  crossed <- model.matrix(~ x * f, typed)[, -1]
  fit <- glmnet::glmnet(crossed, typed$y, lambda = 0.01)
  expect_error(pack(fit, typed[c("x", "f")]), "give the formula that made them")
  dir <- pack(fit, typed[c("x", "f")], options = list(formula = "~ x * f"))
  expect_answers(dir, typed, list(prediction = predict(fit, crossed)))
  plain <- glmnet::glmnet(as.matrix(typed[c("z", "x")]), typed$y, lambda = 0.01)
  expected <- predict(plain, as.matrix(typed[c("z", "x")]))
  expect_answers(pack(plain, typed[c("x", "z")]), typed, list(prediction = expected))
})

test_that("what the matrix cannot be made from is refused, with what to do", {
  fit <- glmnet::glmnet(x, typed$y, lambda = 0.01)
  expect_error(pack(fit, typed[c(columns, "y")]), "nothing of the sample's \"y\"")
  expect_error(pack(fit, typed[columns], options = list(formula = "~ poly(x, 2)")), "made from all rows")
  expect_error(pack(fit, typed[columns], options = list(type = "link")), "takes no option \"type\"")
  path <- glmnet::glmnet(x, typed$y, offset = typed$x)
  expect_error(pack(path, typed[columns], options = list(s = 0.1)), "newoffset")
})

test_that("text that a formula's function reads stays text", {
  data <- transform(typed, s = strrep("a", i))
  fit <- glmnet::glmnet(model.matrix(~ x + nchar(s), data)[, -1], data$y, lambda = 0.01)
  dir <- pack(fit, data[c("x", "s")], options = list(formula = "~ x + nchar(s)"))
  expect_answers(dir, data, list(prediction = predict(fit, model.matrix(~ x + nchar(s), data)[, -1])))
  expect_identical(read_manifest(dir)$signature$inputs[[2]]$type, "string")
})
