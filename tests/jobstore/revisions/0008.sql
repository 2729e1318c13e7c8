-- What came with revision 0008: why a launch stands where it stands, and which batch system has it.
UPDATE launch SET message = 'as it was';
