# What to do about an error R gave while a model was tried.

advice <- function(message) {
  if (grepl("could not find function|object .* not found", message)) {
    quote <- "[\"'\u2018\u2019\u201c\u201d]"
    around <- paste0(".*(?:could not find function|object) ", quote, "(.+?)", quote, ".*")
    name <- sub(around, "\\1", message, perl = TRUE)
    return(paste0(name, " is not in the model or a declared package: declare its package by packages=, define it ",
      "inside predict=, or give the R file that defines it as files="))
  }
  if (grepl("no applicable method|there is no package called", message)) {
    return(paste("Declare the package that fitted the model by packages=; a class that has no predict() needs",
      "package_model(predict = function(model, newdata) ...)"))
  }
  if (grepl("new levels|factor", message)) {
    return("Give a sample of the very data the model was fitted on, with its factors as factors")
  }
  if (grepl("missing value|NA", message)) {
    return("Give a sample without missing values in columns that the model cannot take")
  }
  "Give a sample of the data it was fitted on, or package_model(predict = function(model, newdata) ...)"
}
