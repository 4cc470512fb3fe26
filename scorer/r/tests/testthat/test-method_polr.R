test_that("a packaged polr answers probabilities and first maximum, missing values in place, also for one row", {
  fit <- MASS::polr(o ~ x + z + i + l + f, typed)
  dir <- pack(fit, typed, slim = TRUE)
  rows <- holed(c("x", "f", "l"))
  p <- predict(fit, rows, type = "probs")
  expect_answers(dir, rows, list(class = first_maximum(p, fit$lev), prob.S = p[, 1], prob.M = p[, 2], prob.L = p[, 3]))
  expect_answers(dir, rows[6, ], list(class = predict(fit, rows[6, ]), prob.S = p[6, 1], prob.M = p[6, 2],
    prob.L = p[6, 3]))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "na")
})
