test_that("lines of several processes that speak at once are not mixed", {
  path <- withr::local_tempfile()
  file.create(path)
  speak <- function(id) {
    answers <- file(path, "a")
    say <- line_writer(answers)
    for (turn in 1:2000) say("forked", id, 4000L + id)
    close(answers)
  }
  parallel::mccollect(lapply(1:3, function(id) parallel::mcparallel(speak(id))))
  expect_setequal(readLines(path), sprintf("forked\t%d\t%d", 1:3, 4001:4003))
  expect_length(readLines(path), 6000L)
})

test_that("a line stays one line, whatever is in it", {
  path <- withr::local_tempfile()
  answers <- file(path, "w")
  line_writer(answers)("failed", "first\nsecond\tthird")
  close(answers)
  expect_identical(readLines(path), "failed\tfirst second third")
})
