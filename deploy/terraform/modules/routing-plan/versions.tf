terraform {
  required_version = ">= 1.9" # validations that compare two variables
}
