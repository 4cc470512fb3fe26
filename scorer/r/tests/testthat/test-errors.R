test_that("what a call leaves out is named, all of it, with how to call", {
  expect_error(package_model(1, sample = cars), "give name=, version=, dir= as well, as in package_model[(]")
  expect_error(package_function(example = 1), "give fun=, name=, version=, inputs=, outputs=, dir= as well")
  expect_error(publish_model("cars"), "give store= as well, as in publish_model[(]")
})

test_that("a condition whose class cannot tell its message has none", {
  registerS3method("conditionMessage", "mute", function(c) stop("no"))
  mute <- structure(class = c("mute", "condition"), list())
  expect_match(condition_text(mute), "without a message .*class mute/condition")
})
