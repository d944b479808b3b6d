# Pascal VOC with MMDetection's settings. Training uses the 16,551 images of trainval of 2007 and of 2012, and an epoch
# has each of them three times. It leaves out boxes whose width or height is below 32 pixels. Evaluation uses the 4,952
# images of test of 2007. Its AP50 has the 11 points of 2007.
#   data/VOCdevkit/VOC2007/, VOC2012/, each with
#     ImageSets/Main/trainval.txt, in VOC2007 also test.txt
#     Annotations/*.xml
#     JPEGImages/*.jpg
_base_ = 'mmdet::_base_/datasets/voc0712.py'
