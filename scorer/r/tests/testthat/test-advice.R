test_that("advice names what is missing and where it goes", {
  expect_match(advice("could not find function \"bake\""), "bake is not in the model .* packages=")
  expect_match(advice("object 'threshold' not found"), "threshold is not in the model")
  expect_match(advice("object \u2018threshold\u2019 not found"), "^threshold is not in the model")
  expect_match(advice("there is no package called 'x'"), "by packages=")
  expect_match(advice("something else"), "Give a sample")
})
