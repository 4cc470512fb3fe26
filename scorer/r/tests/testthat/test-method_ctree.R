skip_if_not_installed("partykit")

test_that("a packaged ctree grown with majority = TRUE answers class and probabilities, missing values too", {
  fit <- partykit::ctree(three ~ x + z + i + f + o, typed, control = partykit::ctree_control(majority = TRUE))
  dir <- pack(fit, typed)
  rows <- holed(c("x", "f", "i"))
  p <- predict(fit, rows, type = "prob")
  expect_answers(dir, rows, list(class = predict(fit, rows), prob.a = p[, "a"], prob.b = p[, "b"], prob.c = p[, "c"]))
  expect_true(read_manifest(dir)$batchable)
  expect_identical(unique(missing_said(dir)), "value")
})

test_that("a tree that sends missing values down at random is not batchable, and says why", {
  fit <- partykit::ctree(y ~ x + z + f, typed)
  dir <- pack(fit, typed)
  expect_answers(dir, typed, list(prediction = unname(predict(fit, typed))))
  expect_match(read_manifest(dir)$batchable_reason, "at random \\(not so for a tree grown with majority = TRUE\\)")
})
