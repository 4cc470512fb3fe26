test_that("packaged lda and qda answer posterior and first maximum, missing values in place", {
  for (fit in list(MASS::lda(three ~ x + z + i + l + f + o, typed), MASS::qda(three ~ x + z + i + l, typed))) {
    dir <- pack(fit, typed, slim = TRUE)
    rows <- holed(c("x", "l"))
    p <- suppressWarnings(predict(fit, rows))$posterior
    expect_answers(dir, rows, list(class = first_maximum(p, fit$lev), prob.a = p[, 1], prob.b = p[, 2],
      prob.c = p[, 3]))
    expect_true(read_manifest(dir)$batchable)
    expect_identical(unique(missing_said(dir)), "na")
    expect_named(read_manifest(dir)$packages, "MASS")
  }
})

test_that("fitted on a matrix, the columns are found by name", {
  fit <- MASS::lda(as.matrix(typed[c("z", "x")]), typed$two)
  expect_identical(model_inputs(fit), c("z", "x"))
  answer <- model_predict(fit, typed[c("x", "z")], list())
  expect_identical(answer$prob.yes, unname(predict(fit, as.matrix(typed[c("z", "x")]))$posterior[, "yes"]))
})
