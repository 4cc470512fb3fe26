test_that("a proof runs in another process that has UTC, one thread and only declared packages", {
  tell <- function(model, newdata) {
    list(
      pid = rep(Sys.getpid(), nrow(newdata)), zone = rep(Sys.getenv("TZ"), nrow(newdata)),
      threads = rep(Sys.getenv("OMP_NUM_THREADS"), nrow(newdata)),
      nnet = rep("package:nnet" %in% search(), nrow(newdata))
    )
  }
  dir <- new_folder()
  dir.create(dir)
  write_script(tell, NULL, dir)
  saveRDS(NULL, file.path(dir, "model.rds"))
  write_manifest(list(format = "scoregate.model/1", files = describe_files(dir), packages = named(list()),
    predict = list(method = "script", options = named(list())),
    signature = list(inputs = list(list(name = "x", type = "double")), outputs = list(), kind = "vector")), dir)
  said <- character()
  before <- Sys.getenv("TZ", NA)
  proven <- prove_in_fresh_process(dir, data.frame(x = 1), NULL, NULL, function(line) said <<- c(said, line))
  outputs <- lapply(proven$example$outputs, function(column) column$values[1])
  expect_false(outputs$pid == Sys.getpid())
  expect_identical(c(outputs$zone, outputs$threads), c("UTC", "1"))
  expect_false(outputs$nnet)
  expect_true("loads in a fresh R process" %in% said)
  expect_identical(Sys.getenv("TZ", NA), before)
})

test_that("a process that dies is told with its last words", {
  dir <- new_folder()
  dir.create(dir)
  write_script(function(model, newdata) {
    message("out of luck")
    quit(status = 3)
  }, NULL, dir)
  saveRDS(NULL, file.path(dir, "model.rds"))
  write_manifest(list(format = "scoregate.model/1", files = describe_files(dir), packages = named(list()),
    predict = list(method = "script", options = named(list())),
    signature = list(inputs = list(list(name = "x", type = "double")), outputs = list(), kind = "vector")), dir)
  expect_error(prove_in_fresh_process(dir, data.frame(x = 1), NULL, NULL, identity), "ended without an answer")
})
