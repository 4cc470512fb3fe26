test_that("names and versions of the form of the catalogue pass", {
  for (name in c("a", "boston-housing", "0x", strrep("a", 63))) expect_silent(check_model_name(name))
  for (version in c("1", "1.2", "1.2.3", "10.0-rc1", "1-a.b_c-d")) expect_silent(check_version(version))
})

test_that("other names and versions are refused with the form to use", {
  for (name in list("", "A", "-a", "a_b", strrep("a", 64), NA_character_, 1, c("a", "b"), "a\n")) {
    expect_error(check_model_name(name), "use 1 to 63 lower-case")
  }
  for (version in list("", "v1", "1.2.3.4", "1.", "-a", "1-", "1 ", "1234567890", 1.5, NA, "1-a/b", "1\n")) {
    expect_error(check_version(version), "is not a version")
  }
})

test_that("zeros before a number are refused with what to write, since versions are ordered by number", {
  write <- c("01" = "1", "1.02" = "1.2", "1.2.000" = "1.2.0", "00" = "0", "007.10-rc01" = "7.10-rc01")
  for (version in names(write)) {
    advice <- paste0("has zeros before a number: write \"", write[[version]], "\"")
    expect_error(check_version(version), advice, fixed = TRUE)
  }
  for (version in c("0", "0.0.1", "10", "100.20", "1-01", "1-0.01")) expect_silent(check_version(version))
})

test_that("column names may be any text but the wire's own and control characters", {
  expect_silent(check_column_names(c("a b", "\u00fc\u4f60", "(x)", "_y", strrep("a", 128)), "columns"))
  for (name in c("", NA, "__items", "a\tb", strrep("a", 129), "\xff")) {
    expect_error(check_column_names(c("a", name), "columns"), "cannot be one of the columns")
  }
  expect_error(check_column_names(c("a", "a"), "columns"), "two columns are called \"a\"")
})
