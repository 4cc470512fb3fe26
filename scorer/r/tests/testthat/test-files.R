test_that("an object that a full disk has no room for is refused with where and what to do", {
  skip_if_not(file.exists("/dev/full"))
  expect_error(save_object(1, "/dev/full"), "cannot write /dev/full whole.*Make room")
  expect_error(save_object(stats::rnorm(1e5), "/dev/full"), "cannot write /dev/full whole \\(error writing")
  expect_error(write_utf8("text", "/dev/full"), "cannot write /dev/full whole.*Make room")
})

test_that("where nothing can be written that is said", {
  expect_error(save_object(1, file.path(tempdir(), "no", "folder")), "cannot write .*no/folder whole .*may you write")
  expect_error(copy_whole(file.path(tempdir(), "none"), tempfile()), "cannot write")
})

test_that("what was written is whole, and a file that lost its end is not", {
  path <- tempfile()
  save_object(stats::rnorm(1e4), path)
  expect_true(is_whole_gzip(path))
  bytes <- readBin(path, "raw", file.size(path))
  for (lost in c(1L, 9L, length(bytes) - 30L, length(bytes))) {
    writeBin(utils::head(bytes, -lost), path)
    expect_false(is_whole_gzip(path))
  }
})

test_that("files are copied whole, several at once", {
  from <- c(tempfile(), tempfile())
  for (path in from) write_utf8(path, path)
  to <- c(tempfile(), tempfile())
  copy_whole(from, to)
  expect_identical(lapply(to, readLines), as.list(from))
  copy_whole(character(), character())
})
