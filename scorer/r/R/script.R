# A model's own code: score.R, which defines predict_model(model, newdata), beside any other files it needs.

#' Write a predict function, or copy a file that defines one, as score.R; and the files it needs, under their own names.
#' @noRd
write_script <- function(predict, files, dir) {
  copy_files(files, dir)
  if (is.function(predict)) {
    write_utf8(paste0("predict_model <- ", function_text(predict)), file.path(dir, "score.R"))
  } else {
    copy_whole(predict, file.path(dir, "score.R"))
  }
}

#' The files that code needs, under their own names.
#' @noRd
copy_files <- function(files, dir) {
  reserved <- c("manifest.json", "model.rds", "score.R")
  names <- basename(as.character(files))
  if (anyDuplicated(names) || any(names %in% reserved)) {
    abort_argument("files= must have names of their own, none of them ", quoted(reserved), ": rename ",
      quoted(names[duplicated(names) | names %in% reserved])
    )
  }
  absent <- Filter(function(file) !file.exists(file) || dir.exists(file), as.character(files))
  if (length(absent) > 0L) {
    abort_argument("files= names ", quoted(absent), ", which is no file: give paths of files, not of folders")
  }
  copy_whole(as.character(files), file.path(dir, names))
}

#' A function as text that parses to the very same function: numbers with all their digits.
#' @noRd
function_text <- function(fun) {
  if (is.primitive(fun) || isNamespace(environment(fun))) {
    abort("predict = is a function of a package, whose code would be torn out of it: wrap it, as in ",
      "predict = function(model, newdata) pkg::fun(model, newdata)"
    )
  }
  if (length(formals(fun)) < 2L) {
    abort("predict = must take the model and the rows: function(model, newdata) ...")
  }
  for (digits in c("digits17", "hexNumeric")) {
    text <- paste(deparse(fun, width.cutoff = 100L, control = c("keepNA", "keepInteger", "niceNames", "showAttributes",
      digits)), collapse = "\n")
    again <- tryCatch(eval(parse(text = text, keep.source = FALSE)), error = function(e) NULL)
    if (is.function(again) && same_code(fun, again)) {
      return(text)
    }
  }
  abort("predict = holds values that cannot be written as text: write it in a file and give the file's name, ",
    "predict = \"score.R\", with data it needs as files="
  )
}

same_code <- function(a, b) {
  bare <- function(fun) utils::removeSource(fun)
  identical(body(bare(a)), body(bare(b)), num.eq = FALSE) && identical(formals(a), formals(b), num.eq = FALSE)
}

load_script <- function(dir, files) {
  code <- grep("[.][rR]$", files, value = TRUE)
  environment <- new.env(parent = globalenv())
  for (file in c(setdiff(code, "score.R"), "score.R")) {
    sys.source(normalizePath(file.path(dir, file)), environment, chdir = TRUE, keep.source = FALSE)
  }
  if (!is.function(environment$predict_model)) {
    abort("score.R defines no predict_model: it must define predict_model <- function(model, newdata) ...")
  }
  environment$predict_model
}

#' Symbols and strings that code names: a column among them is one that it uses.
#' @noRd
names_in_code <- function(paths) {
  unique(unlist(lapply(paths, function(path) {
    code <- parse(path, keep.source = FALSE, encoding = "UTF-8")
    c(all.names(code, unique = TRUE), strings_in(code))
  })))
}

strings_in <- function(code) {
  if (is.character(code)) {
    return(code)
  }
  if (!is.recursive(code) || is.environment(code)) {
    return(character())
  }
  unlist(lapply(as.list(code), function(part) if (!missing(part)) strings_in(part)))
}
